"""Differential privacy: mechanisms on TF Privacy, per-example gradients, accounting."""
