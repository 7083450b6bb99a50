"""Every rule runs in TFF's worker as it does eagerly."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import seeds
from tff_robust.aggregators import (
  bulyan,
  caf,
  centered_clipping,
  comparative_gradient_elimination,
  coordinate_median,
  divide_and_conquer,
  foolsgold,
  geometric_median,
  krum,
  krum_variants,
  meamed,
  minimum_diameter_averaging,
  phocas,
  sign_majority,
  smea,
  trimmed_mean,
)
from tff_robust.factories import byzantine_robust
from tff_robust.preaggregators import (
  adaptive_clipping,
  bucketing,
  nearest_neighbor_mixing,
  preaggregator,
  static_clipping,
)

_D = 40


def _rules():
  before_the_median = [
    static_clipping.build_static_clipping(max_norm=5.0),
    adaptive_clipping.build_adaptive_clipping(max_byzantine=2),
    nearest_neighbor_mixing.build_nearest_neighbor_mixing(max_byzantine=2),
    bucketing.build_bucketing(bucket_size=2),
  ]
  median = coordinate_median.build_coordinate_median(max_byzantine=2)
  return [
    preaggregator.compose(before_the_median, median),
    krum.build_multi_krum(max_byzantine=2, num_selected=4),
    *(krum_variants.build_variant(name, max_byzantine=2) for name in krum_variants.VARIANTS),
    median,
    trimmed_mean.build_trimmed_mean(max_byzantine=2),
    meamed.build_meamed(max_byzantine=2),
    phocas.build_phocas(max_byzantine=2),
    bulyan.build_bulyan(max_byzantine=2),
    geometric_median.build_geometric_median(max_byzantine=2),
    minimum_diameter_averaging.build_minimum_diameter_averaging(max_byzantine=2),
    smea.build_smea(max_byzantine=2),
    caf.build_caf(max_byzantine=2),
    comparative_gradient_elimination.build_comparative_gradient_elimination(max_byzantine=2),
    divide_and_conquer.build_divide_and_conquer(max_byzantine=2, num_coordinates=9),
    foolsgold.build_foolsgold(),
    sign_majority.build_sign_majority(),
    centered_clipping.build_centered_clipping(clip_radius=3.0, num_iterations=2),
  ]


@pytest.mark.slow
@pytest.mark.parametrize('rule', _rules(), ids=lambda rule: rule.name)
def test_runs_in_the_worker_as_it_does_eagerly(rule):
  rows = np.random.default_rng(0).normal(size=[11, _D]).astype(np.float32)
  rows[0] *= 1e3
  rows[1] = rows[2]
  rows[3, 3] = np.nan if rule.name not in krum_variants.VARIANTS else 1.0
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
