import numpy as np
import pytest

from tff_robust import config
from tff_robust.program import certificates

BYZANTINE = np.arange(25) >= 14


def certificate(**changes):
  values = {'epsilon': 1.0, 'max_byzantine': 11, 'knowledge': 'honest_messages'}
  return certificates.KrumCertificate(**{**values, **changes})


def sent(epsilon, *, seen=None, signal=0.0, seed=0):
  """14 honest rows in 4000 dimensions, of noise energy 1 around `signal`, and 11 colluders."""
  generator = np.random.default_rng(seed)
  honest = generator.normal(size=(14, 4000)) / np.sqrt(4000)
  honest[:, 0] += signal
  center = honest.mean(axis=0) if seen is None else seen
  return np.concatenate([honest, np.repeat(-epsilon * center[None], 11, axis=0)])


def cells(rows, *, active=True, ratio=0.0, **changes):
  return certificate(**changes).cells(
    rows @ rows.T, BYZANTINE, signal_to_noise_ratio=ratio, attack_active=active
  )


def test_breaking_point_of_pure_noise_is_that_of_the_closed_form():
  found = cells(sent(1.0))
  # sqrt(14 * (2 * 6 - 1) + 1) - 1 for 11 of 25.
  assert found['breaking_epsilon_isotropic'] == pytest.approx(11.45, abs=0.005)
  assert found['breaking_epsilon_exact'] == pytest.approx(11.45, rel=0.05)
  assert found['predicted_selected'] == 1


def test_a_step_beyond_the_breaking_point_is_predicted_to_fail():
  assert cells(sent(14.0), epsilon=14.0)['predicted_selected'] == 0


def test_a_negative_estimate_of_the_ratio_counts_as_zero():
  rows = sent(1.0)
  assert cells(rows, ratio=-0.05) == cells(rows, ratio=0.0)


def test_equal_honest_messages_have_no_closed_form():
  found = cells(sent(1.0), ratio=np.inf)
  assert set(found) == {'breaking_epsilon_exact', 'predicted_selected'}


def test_before_the_attack_the_breaking_point_is_known_to_who_sees_honest_messages():
  generator = np.random.default_rng(3)
  rows = sent(1.0)
  rows[14:] = generator.normal(size=(11, 4000))
  found = cells(rows, active=False)
  assert 'predicted_selected' not in found
  assert found['breaking_epsilon_exact'] == cells(sent(1.0))['breaking_epsilon_exact']
  assert set(cells(rows, active=False, knowledge='own_messages')) == {'breaking_epsilon_isotropic'}


def test_with_another_view_the_answer_tells_the_ray():
  seen = np.random.default_rng(9).normal(size=4000) / np.sqrt(11 * 4000)
  found = cells(sent(1.0, seen=seen), knowledge='own_messages')
  # sqrt(11 * (2 * 6 - 1)): noise of the attackers' own.
  assert found['breaking_epsilon_isotropic'] == pytest.approx(11.0)
  assert found['breaking_epsilon_exact'] == pytest.approx(11.0, rel=0.05)
  assert found['predicted_selected'] == 1
  assert certificates.EXACT not in cells(sent(0.0), epsilon=0.0, knowledge='own_messages')


def test_sending_nothing_is_selected_among_noise():
  assert cells(sent(0.0), epsilon=0.0)['predicted_selected'] == 1


def test_a_tie_is_left_to_the_order_of_clients():
  found = cells(np.zeros((25, 3)))
  assert 'predicted_selected' not in found
  # Two rows that are nearest to each other: both scores are their distance.
  rows = np.array([[1.0, 0.0], [0.0, 2.0], [-0.5, -1.0]])
  found = certificate(max_byzantine=0).cells(
    rows @ rows.T, [False, False, True], signal_to_noise_ratio=0.0, attack_active=True
  )
  assert 'predicted_selected' not in found


def test_rounds_without_an_answer_or_an_attacker_are_blank():
  rows = sent(1.0)
  found = certificate().cells(
    rows @ rows.T, np.zeros(25, bool), signal_to_noise_ratio=0.0, attack_active=False
  )
  assert found == {}
  rows[:12] = np.nan
  assert cells(rows) == {}
  assert cells(sent(1.0), ratio=float('nan')).keys() == {
    'breaking_epsilon_exact',
    'predicted_selected',
  }


def experiment(*, preaggregators=(), attack='inner_product_manipulation', **changes):
  values = {'options': {'attack_epsilon': 0.1}, 'num_byzantine': 3, **changes}
  return config.ExperimentConfig(
    seed=1,
    training=config.TrainingConfig(num_rounds=2),
    aggregation=config.AggregationConfig(
      aggregator='krum', preaggregators=preaggregators, options={'max_byzantine': 4}
    ),
    attack=config.AttackConfig(attack=attack, **values),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0),
  )


def test_certificate_follows_the_configuration():
  assert certificates.build_certificate(experiment()) == certificate(
    epsilon=0.1, max_byzantine=4, has_closed_form=True
  )
  clean = certificates.build_certificate(experiment(knowledge='own_clean'))
  assert not clean.has_closed_form


@pytest.mark.parametrize(
  'changes',
  [
    {'preaggregators': ['nearest_neighbor_mixing']},
    {'attack': 'sign_flip', 'options': {}},
    {'byzantine_dp_noise': True},
    {'attack': 'none', 'options': {}, 'num_byzantine': 0},
  ],
)
def test_other_runs_have_no_certificate(changes):
  assert certificates.build_certificate(experiment(**changes)) is None
