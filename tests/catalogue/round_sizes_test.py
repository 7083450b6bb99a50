import pytest

from tff_robust.catalogue import round_sizes


@pytest.mark.parametrize(
  ('size', 'expected'),
  [
    (round_sizes.any_number, [1, 1, 1, 1]),
    (round_sizes.at_least(3), [3, 3, 3, 3]),
    (round_sizes.majority, [1, 3, 5, 23]),
    (round_sizes.krum, [3, 5, 7, 25]),
    (round_sizes.at_least_per_byzantine(4, 3), [3, 7, 11, 47]),
  ],
)
def test_sizes_at_no_one_two_and_eleven_byzantine_clients(size, expected):
  assert [size({'max_byzantine': f}) for f in (0, 1, 2, 11)] == expected


@pytest.mark.parametrize(
  ('filter_factor', 'expected'), [(0.5, 9), (1.0, 9), (2.0, 9), (2.3, 10), (3.0, 13)]
)
def test_a_filter_keeps_a_row_and_a_majority(filter_factor, expected):
  options = {'max_byzantine': 4, 'filter_factor': filter_factor}
  assert round_sizes.more_than_it_drops(options) == expected
