import functools

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import krum, krum_variants
from tff_robust.testing.oracles import krum_rules
from tff_robust.testing.oracles import krum_variants as oracles

_SEED = tf.constant([0, 0], tf.int64)


@functools.cache
def _traced(variant, f):
  rule = krum_variants.build_variant(variant, max_byzantine=f)

  @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
  def apply(updates):
    output = rule.apply((), updates, tf.ones(tf.shape(updates)[:1]), _SEED)
    return output.aggregate, dict(output.measurements)

  return apply


@pytest.fixture(autouse=True, scope='module')
def _drop_graphs():
  yield
  _traced.cache_clear()


_ORACLES = oracles.SELECTIONS


def _krum(rows, f):
  return krum_rules.lowest(krum_rules.krum_scores(rows, f), 1)


def _selected(variant, rows, f):
  aggregate, measurements = _traced(variant, f)(rows)
  return aggregate.numpy(), list(np.flatnonzero(measurements['selected']))


def test_every_variant_has_an_oracle_a_source_and_a_builder():
  assert set(_ORACLES) == set(krum_variants.VARIANTS)
  for name, variant in krum_variants.VARIANTS.items():
    assert variant.repository
    assert variant.difference
    assert getattr(krum_variants, f'build_{name}')(max_byzantine=1).name == name


@pytest.mark.parametrize('variant', list(_ORACLES))
def test_equals_its_description_on_random_stacks(variant):
  rng = np.random.default_rng(0)
  f = 2  # one graph for all
  for _ in range(40):
    n = int(rng.integers(2 * f + 3, 2 * f + 9))
    rows = rng.normal(size=[n, 5]).astype(np.float32)
    expected = _ORACLES[variant](rows, f)
    aggregate, selected = _selected(variant, rows, f)
    assert selected == sorted(expected)
    np.testing.assert_allclose(aggregate, rows[expected].astype(np.float64).mean(0), rtol=1e-5)


def _manipulated(snr, epsilon, f, seed):
  """Inner-product manipulation by the first f of 25 clients, isotropic honest updates."""
  rng = np.random.default_rng(seed)
  d, h = 1000, 25 - f
  honest = rng.normal(size=[h, d]) / np.sqrt(d)
  honest[:, 0] += np.sqrt(snr)
  return np.concatenate([np.tile(-epsilon * honest.mean(0), [f, 1]), honest]).astype(np.float32)


@pytest.mark.parametrize(
  ('variant', 'epsilon', 'krum_takes_attacker'),
  [
    ('krum_calicarpa', 7.0, False),
    ('krum_alie_authors', 7.0, False),
    ('multi_krum_ndss21', 7.0, False),
    ('krum_byzfl', 5.5, True),
    ('krum_epfml', 5.0, True),
  ],
)
def test_selects_the_attacker_where_krum_does_not_or_the_other_way_round(
  variant, epsilon, krum_takes_attacker
):
  for seed in range(5):
    rows = _manipulated(0.15, epsilon, 11, seed)
    krum_choice = _krum(rows, 11)[0]
    assert (krum_choice < 11) == krum_takes_attacker
    np.testing.assert_array_equal(krum.krum(rows, max_byzantine=11), rows[krum_choice])
    _, selected = _selected(variant, rows, 11)
    assert (min(selected) < 11) != krum_takes_attacker
    assert selected == sorted(_ORACLES[variant](rows, 11))


def test_flower_legacy_selects_a_nan_that_krum_never_does():
  rows = np.random.default_rng(0).normal(size=[9, 4]).astype(np.float32)
  rows[3, 2] = np.nan
  aggregate, selected = _selected('krum_flower_legacy', rows, 2)
  assert selected == [3] == _ORACLES['krum_flower_legacy'](rows, 2)
  assert np.isnan(aggregate).any()
  assert np.isfinite(krum.krum(rows, max_byzantine=2)).all()


def test_flower_legacy_accepts_a_round_that_krum_refuses():
  rows = np.array([[0], [5], [6]], np.float32)
  assert _selected('krum_flower_legacy', rows, 2)[1] == [1]
  with pytest.raises(ValueError, match='needs at least 7 clients'):
    krum.krum(rows, max_byzantine=2)


def test_xie_clamps_where_krum_refuses():
  rows = np.random.default_rng(0).normal(size=[8, 4]).astype(np.float32)
  assert _selected('krum_xie', rows, 5)[1] == _krum(rows, 2)
  with pytest.raises(ValueError, match='needs at least 13 clients'):
    krum.krum(rows, max_byzantine=5)


def test_xie_gives_no_answer_with_more_bad_rows_than_the_lowered_f():
  rows = np.random.default_rng(1).normal(size=[5, 4]).astype(np.float32)
  rows[0] = np.nan
  # f is lowered to 1, and one bad row is left out as in Krum.
  assert _selected('krum_xie', rows, 5)[1] == [1 + _krum(rows[1:], 0)[0]]
  rows[1:3] = np.inf
  output = krum_variants.build_krum_xie(max_byzantine=5).apply(
    (), tf.constant(rows), tf.ones([5]), tf.constant([0, 0], tf.int64)
  )
  assert output.measurements['round_rejected']
  np.testing.assert_array_equal(output.aggregate, np.zeros(4))


def test_reversed_sum_is_won_by_an_isolated_outlier():
  rows = np.random.default_rng(0).normal(size=[9, 4]).astype(np.float32)
  rows[6] = 1e6
  assert _selected('krum_reversed', rows, 2)[1] == [6]
  assert _krum(rows, 2) != [6]


def test_alie_authors_return_the_last_client_when_all_are_far():
  rows = (1e20 * np.random.default_rng(0).normal(size=[9, 4])).astype(np.float32)
  rows[8] *= 10
  assert _selected('krum_alie_authors', rows, 2)[1] == [8] == _ORACLES['krum_alie_authors'](rows, 2)
  assert _krum(rows, 2) != [8]


def test_alie_authors_prefer_client_one_in_a_tie():
  rows = np.zeros([5, 2], np.float32)
  assert _selected('krum_alie_authors', rows, 1)[1] == [1] == _ORACLES['krum_alie_authors'](rows, 1)


def test_epfml_accepts_one_client_too_few():
  rows = np.random.default_rng(0).normal(size=[6, 3]).astype(np.float32)
  assert _selected('krum_epfml', rows, 2)[1] == _ORACLES['krum_epfml'](rows, 2)
  with pytest.raises(ValueError, match='at least 7'):
    krum.krum(rows, max_byzantine=2)


def test_refuses_an_unknown_name():
  with pytest.raises(ValueError, match="Did you mean 'krum_byzfl'"):
    krum_variants.aggregate(np.zeros([5, 2]), variant='krum_byzfll', max_byzantine=1)
