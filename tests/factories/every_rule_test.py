"""Every rule runs in TFF's worker as it does eagerly."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import registry, seeds
from tff_robust.factories import byzantine_robust
from tff_robust.preaggregators import preaggregator
from tff_robust.testing import preaggregator_contract, rule_trial

_D = 40


def _rules():
  """Returns every rule of the registry at f = 2, and one with every pre-aggregator before it."""
  lifted = [name for name, entry in registry.AGGREGATORS.items() if not entry.needs_root]
  rules = [rule_trial.RuleTrial(name).rule(2) for name in lifted]
  steps = [preaggregator_contract.Trial(name).built for name in registry.PREAGGREGATORS]
  # Buckets of two leave six rows, which are enough for the median.
  return [*rules, preaggregator.compose(steps, rule_trial.RuleTrial('coordinate_median').rule(2))]


@pytest.mark.slow
@pytest.mark.parametrize('rule', _rules(), ids=lambda rule: rule.name)
def test_runs_in_the_worker_as_it_does_eagerly(rule):
  rows = np.random.default_rng(0).normal(size=[11, _D]).astype(np.float32)
  rows[0] *= 1e3
  rows[1] = rows[2]
  drops = registry.AGGREGATORS.get(rule.name, registry.AGGREGATORS['krum']).deviations
  rows[3, 3] = 1.0 if 'drops_nonfinite_rows' in drops else np.nan
  process = byzantine_robust.ByzantineRobustFactory(rule, seed=7).create(
    tff.TensorType(np.float32, [_D])
  )
  state, eager_state = process.initialize(), rule.init(_D)
  for round_num in range(2):
    output = process.next(state, list(rows))
    draw = seeds.fold(tf.constant(seeds.tensor_seed(7)), seeds.Purpose.RULE, round_num)
    eager = rule.apply(eager_state, rows, tf.ones([len(rows)]), draw)
    np.testing.assert_allclose(output.result, eager.aggregate, rtol=1e-5, atol=1e-6)
    assert sorted(output.measurements) == sorted(eager.measurements)
    state, eager_state = output.state, eager.state
