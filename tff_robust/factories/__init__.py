"""Thin TFF adapters that lift rules into aggregation factories."""
