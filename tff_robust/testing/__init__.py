"""Contracts and toy problems for testing rules and attacks, shipped for users."""
