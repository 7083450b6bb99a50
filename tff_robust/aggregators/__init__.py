"""Robust aggregation rules: pure functions [n, d] -> [d], one rule a file."""
