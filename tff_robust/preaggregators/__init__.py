"""Pre-aggregators: pure functions [n, d] -> [m, d] that run before a rule."""
