"""Certificates: what a rule withstands, computed without training."""
