"""Execution contexts in which TFF computations run."""
