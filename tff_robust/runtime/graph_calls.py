"""After how many calls a computation becomes one graph, see `whole_graph`, or does not.

Importing this module is cheap: a benchmark that waits for the graph needs no TensorFlow for that.
"""

# Calls before a graph is made; of more than `_FEW_CLIENTS` clients, a third of their number, since
# making it takes longer: 2 s for 100, 6 s for 500, as long as 50 calls of theirs.
CALLS_BEFORE = 20
_FEW_CLIENTS = 60
# Calls of a graph that are compared with those before it, after its first.
CALLS_COMPARED = 10
# Entries of all rows that a round gathers, 64 MB, from which on it never becomes one graph: rows
# are written to their places one by one.
LARGE_ENTRIES = 1 << 24


def calls_before(num_clients: int) -> int:
  """Returns how often a computation is interpreted before its graph is made."""
  return CALLS_BEFORE if num_clients <= _FEW_CLIENTS else num_clients // 3


def calls_until_decided(num_clients: int) -> int:
  """Returns after how many calls a computation stays what it is, one graph or interpreted.

  Calls that are slow do not count, as the first one may be, which traces.
  """
  return calls_before(num_clients) + 1 + CALLS_COMPARED
