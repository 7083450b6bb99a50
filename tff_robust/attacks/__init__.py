"""Attacks: pure functions from what the adversary sees [h, d] to what it sends [b, d]."""
