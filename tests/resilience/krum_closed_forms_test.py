import numpy as np
import pytest

from tff_robust.resilience import krum_breaking_point, krum_closed_forms

# Tables computed from the formulas apart from this package, and held against simulations (n = 25,
# d = 2000) that came within a twentieth.
# n = 25 and f = b: breaking epsilon for R = 0, .03, .1, .2, .5, 1, 2.2, 5 (0: never).
_BREAKING = {
  1: (4.00, 2.81, 1.71, 1.08, 0.39, 0, 0, 0),
  2: (4.13, 2.94, 1.82, 1.17, 0.45, 0.05, 0, 0),
  3: (4.28, 3.10, 1.95, 1.27, 0.52, 0.10, 0, 0),
  5: (4.69, 3.50, 2.29, 1.55, 0.72, 0.24, 0, 0),
  8: (5.91, 4.62, 3.21, 2.29, 1.24, 0.63, 0.12, 0),
  10: (8.14, 6.59, 4.78, 3.57, 2.13, 1.28, 0.57, 0.05),
  11: (11.45, 9.45, 7.04, 5.39, 3.40, 2.21, 1.21, 0.48),
}
_RATIOS = (0.0, 0.03, 0.1, 0.2, 0.5, 1.0, 2.2, 5.0)
# Critical R for epsilon = .1 and 1.
_CRITICAL = {1: (0.82, 0.22), 3: (1.00, 0.27), 5: (1.29, 0.36), 8: (2.26, 0.64), 11: (9.08, 2.70)}
# G = .15, D = 1, privacy noise 0, 1, 10, 100.
_KNOWLEDGE = {
  ('honest_messages', 1): (1.33, 1.99, 3.34, 3.91),
  ('honest_messages', 11): (6.07, 7.70, 10.4, 11.3),
  ('honest_clean', 1): (1.33, 2.26, 6.59, 22.0),
  ('honest_clean', 11): (6.07, 8.98, 22.4, 69.8),
  ('own_clean', 1): (0.74, 1.14, 2.94, 9.24),
  ('own_clean', 11): (6.12, 8.92, 21.8, 67.3),
  ('own_messages', 1): (0.74, 0.86, 0.97, 1.00),
  ('own_messages', 11): (6.12, 7.68, 10.1, 10.9),
}


def _counts(max_byzantine):
  return {'num_clients': 25, 'num_byzantine': max_byzantine, 'max_byzantine': max_byzantine}


@pytest.mark.parametrize('max_byzantine', _BREAKING)
def test_matches_the_table_for_twenty_five_clients(max_byzantine):
  found = [
    krum_closed_forms.isotropic_breaking_epsilon(
      **_counts(max_byzantine), signal_to_noise_ratio=ratio
    )
    for ratio in _RATIOS
  ]
  np.testing.assert_allclose(found, _BREAKING[max_byzantine], rtol=0.01, atol=0.006)


@pytest.mark.parametrize('max_byzantine', _CRITICAL)
def test_matches_the_table_of_critical_ratios(max_byzantine):
  found = [
    krum_closed_forms.critical_signal_to_noise_ratio(**_counts(max_byzantine), epsilon=epsilon)
    for epsilon in (0.1, 1.0)
  ]
  np.testing.assert_allclose(found, _CRITICAL[max_byzantine], rtol=0.01, atol=0.006)


def test_only_the_largest_minority_survives_with_a_factor_of_ten():
  values = [
    krum_closed_forms.critical_signal_to_noise_ratio(**_counts(f), epsilon=10.0) for f in (1, 5, 11)
  ]
  assert values[0] < 0
  assert values[1] < 0
  assert values[2] == pytest.approx(0.020, abs=0.0005)


@pytest.mark.parametrize(('knowledge', 'max_byzantine'), _KNOWLEDGE)
def test_matches_the_table_of_what_attackers_know(knowledge, max_byzantine):
  found = [
    krum_closed_forms.knowledge_breaking_epsilon(
      knowledge, **_counts(max_byzantine), signal=0.15, sampling_noise=1.0, dp_noise=noise
    )
    for noise in (0.0, 1.0, 10.0, 100.0)
  ]
  np.testing.assert_allclose(found, _KNOWLEDGE[knowledge, max_byzantine], rtol=0.01)


@pytest.mark.parametrize('knowledge', krum_closed_forms.KNOWLEDGE)
@pytest.mark.parametrize('max_byzantine', [1, 11])
def test_agrees_with_the_exact_certificate_under_each_knowledge(knowledge, max_byzantine):
  generator = np.random.default_rng(0)
  columns, rows, dp_noise = 4000, 25 - max_byzantine, 3.0
  exact = []
  for _ in range(4):
    clean = generator.normal(size=(25, columns)) / np.sqrt(columns) + np.sqrt(0.15 / columns)
    sent = clean + np.sqrt(dp_noise / columns) * generator.normal(size=clean.shape)
    shown = clean if knowledge.endswith('clean') else sent
    seen = shown[:rows] if knowledge.startswith('honest') else shown[rows:]
    exact.append(
      krum_breaking_point.exact_breaking_epsilon(
        sent[:rows], num_byzantine=max_byzantine, max_byzantine=max_byzantine, seen=seen
      )
    )
  predicted = krum_closed_forms.knowledge_breaking_epsilon(
    knowledge, **_counts(max_byzantine), signal=0.15, sampling_noise=1.0, dp_noise=dp_noise
  )
  # One attacker's bound is the minimum of noisy scores, which biases it down.
  assert 1 + np.mean(exact) == pytest.approx(1 + predicted, rel=0.08)


@pytest.mark.parametrize(('max_byzantine', 'limit'), [(1, 4.0), (5, 4.69), (10, 8.14), (11, 11.45)])
def test_privacy_noise_alone_sets_the_limit(max_byzantine, limit):
  found = krum_closed_forms.noise_dominated_breaking_epsilon(
    'honest_messages', **_counts(max_byzantine)
  )
  assert found == pytest.approx(limit, abs=0.006)


def test_finite_noise_approaches_the_limit():
  for knowledge, tolerance in (('honest_messages', 1e-3), ('own_messages', 1e-3)):
    limit = krum_closed_forms.noise_dominated_breaking_epsilon(knowledge, **_counts(11))
    near = krum_closed_forms.knowledge_breaking_epsilon(
      knowledge, **_counts(11), signal=0.15, sampling_noise=1.0, dp_noise=1e6
    )
    assert near == pytest.approx(limit, rel=tolerance)
  for knowledge in ('honest_clean', 'own_clean'):
    limit = krum_closed_forms.noise_dominated_breaking_epsilon(knowledge, **_counts(11))
    assert limit == np.inf


def test_heteroscedastic_form_follows_the_exact_certificate_where_the_isotropic_one_fails():
  generator = np.random.default_rng(1)
  columns, max_byzantine, rows = 4000, 5, 20
  ratios = []
  for _ in range(10):
    scale = np.exp(0.5 * generator.normal(size=(rows, 1)))
    honest = scale * generator.normal(size=(rows, columns)) / np.sqrt(columns)
    honest += np.sqrt(0.1 / columns)
    exact = krum_breaking_point.exact_breaking_epsilon(
      honest, num_byzantine=max_byzantine, max_byzantine=max_byzantine
    )
    closed = krum_closed_forms.heteroscedastic_breaking_epsilon(
      honest, num_byzantine=max_byzantine, max_byzantine=max_byzantine
    )
    energy = float((scale**2).mean())
    isotropic = krum_closed_forms.isotropic_breaking_epsilon(
      **_counts(max_byzantine), signal_to_noise_ratio=0.1 / energy
    )
    ratios.append(((1 + closed) / (1 + exact), (1 + isotropic) / (1 + exact)))
  closed_ratio, isotropic_ratio = np.mean(ratios, axis=0)
  assert closed_ratio == pytest.approx(1.0, abs=0.15)
  assert isotropic_ratio > 2.0


def test_equals_the_isotropic_form_when_all_energies_agree():
  rows, columns = 14, 28
  # Orthonormal noise around a mean that is orthogonal to it.
  noise = np.eye(rows, columns) - np.eye(rows, columns).mean(axis=0)
  honest = noise.copy()
  honest[:, -1] = 0.5
  energy = (noise**2).sum() / (rows - 1)
  closed = krum_closed_forms.heteroscedastic_breaking_epsilon(
    honest, num_byzantine=11, max_byzantine=11
  )
  # The same q = |mean|^2 / energy; the isotropic form writes it as R + 1/h.
  isotropic = krum_closed_forms.isotropic_breaking_epsilon(
    **_counts(11), signal_to_noise_ratio=0.25 / energy - 1 / rows
  )
  exact = krum_breaking_point.exact_breaking_epsilon(honest, num_byzantine=11, max_byzantine=11)
  assert closed == pytest.approx(isotropic, rel=1e-9)
  assert closed == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
  ('num_byzantine', 'max_byzantine', 'expected'),
  [
    # 14 honest rows and 18 neighbours: 8 A < 26 D + 5 A and A = (1 + epsilon)^2 D / 14 + 13 D / 14.
    (11, 5, 9.41),
    # 13 honest rows beside 12 attackers, 19 neighbours: 8 A < 24 D + 7 A, and A as above.
    (12, 4, np.sqrt(13 * (24 - 1) + 1) - 1),
    (13, 5, np.inf),
  ],
)
def test_counts_attackers_among_the_neighbours_of_honest_rows(
  num_byzantine, max_byzantine, expected
):
  counts = {'num_byzantine': num_byzantine, 'max_byzantine': max_byzantine}
  found = krum_closed_forms.isotropic_breaking_epsilon(
    num_clients=25, signal_to_noise_ratio=0.0, **counts
  )
  assert found == pytest.approx(expected, abs=0.005)
  honest = np.random.default_rng(0).normal(size=(25 - num_byzantine, 20_000)) / np.sqrt(20_000)
  exact = krum_breaking_point.exact_breaking_epsilon(honest, **counts)
  assert 1 + exact == pytest.approx(1 + expected, rel=0.08)


def test_rows_that_are_not_finite_count_as_clients():
  honest = np.random.default_rng(4).normal(size=(17, 4000)) / np.sqrt(4000) + np.sqrt(0.1 / 4000)
  counts = {'num_byzantine': 8, 'max_byzantine': 11}
  honest[:2] = np.nan
  found = krum_closed_forms.heteroscedastic_breaking_epsilon(honest, **counts)
  exact = krum_breaking_point.exact_breaking_epsilon(honest, **counts)
  assert 1 + found == pytest.approx(1 + exact, rel=0.25)
  honest[:12] = np.nan
  assert krum_closed_forms.heteroscedastic_breaking_epsilon(honest, **counts) == 0.0
  assert krum_breaking_point.exact_breaking_epsilon(honest, **counts) == 0.0


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'num_clients': 24}, 'needs at least 25 clients'),
    ({'num_byzantine': 0}, 'num_byzantine=0 must be at least 1'),
    ({'signal_to_noise_ratio': -0.1}, 'must be a finite number of at least 0'),
  ],
)
def test_refuses_what_the_model_does_not_describe(change, message):
  with pytest.raises(ValueError, match=message):
    krum_closed_forms.isotropic_breaking_epsilon(
      **{**_counts(11), 'signal_to_noise_ratio': 0.1, **change}
    )


def test_refuses_an_unknown_knowledge_and_names_the_nearest():
  with pytest.raises(ValueError, match="Did you mean 'own_clean'"):
    krum_closed_forms.noise_dominated_breaking_epsilon('own_cleen', **_counts(11))
