import math

import pytest

from tff_robust.resilience import krum_theorem


@pytest.mark.parametrize(
  ('max_byzantine', 'squared'), [(1, 52.3), (2, 59.7), (5, 127), (8, 361), (10, 1050), (11, 3438)]
)
def test_matches_published_constants_for_twenty_five_clients(max_byzantine, squared):
  found = krum_theorem.required_signal_to_noise_ratio(num_clients=25, max_byzantine=max_byzantine)
  assert found == pytest.approx(squared, rel=0.003)


def test_matches_a_value_computed_by_hand():
  # n = 7, f = 2: 2 (5 + (2 * 3 + 4 * 4) / 1) = 54.
  assert krum_theorem.eta(num_clients=7, max_byzantine=2) == pytest.approx(math.sqrt(54))


def test_promises_nothing_below_the_condition():
  assert (
    krum_theorem.sine_of_resilience_angle(
      num_clients=25, max_byzantine=11, signal_to_noise_ratio=0.25
    )
    is None
  )
  assert (
    krum_theorem.sine_of_resilience_angle(num_clients=7, max_byzantine=2, signal_to_noise_ratio=54)
    is None
  )


def test_promises_an_angle_above_the_condition():
  sine = krum_theorem.sine_of_resilience_angle(
    num_clients=7, max_byzantine=2, signal_to_noise_ratio=4 * 54
  )
  assert sine == pytest.approx(0.5)


def test_refuses_more_attackers_than_krum_allows():
  with pytest.raises(ValueError, match='needs at least 25 clients'):
    krum_theorem.eta(num_clients=24, max_byzantine=11)


@pytest.mark.parametrize(('epsilon', 'needed'), [(0.1, 882), (1.0, 18)])
def test_published_sufficient_condition_needs_far_more_neighbours(epsilon, needed):
  assert krum_theorem.sufficient_num_neighbours_for_ipm(epsilon=epsilon) == pytest.approx(needed)
