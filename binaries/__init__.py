"""Runs: absl binaries that hold the decisions of one run."""
