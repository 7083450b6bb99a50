"""The program around a process: loop, releases, checkpoints, progress."""
