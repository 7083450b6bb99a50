"""Every rule once more, in plain NumPy and float64: what the rules are compared with.

Each oracle follows its rule's description by loops over rows, pairs or subsets, in the space
of updates, and shares no code with the rule. `registry.Entry.oracle` says which is whose.
An oracle takes finite rows, float64 [n, d], and the arguments of the rule's builder.
"""
