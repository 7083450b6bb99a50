"""A private model, an honest majority, and an attack that Krum lets through, in a minute.

Trains on the handwritten digits that ship with scikit-learn: 25 clients with DP-SGD, of
which 11 are Byzantine. From round 25 on they send a negative multiple of the honest mean
(inner product manipulation). Krum has to be told how many liars to expect, and is told the
truth; still it selects a liar in nearly every round from then on.
"""

from __future__ import annotations

from collections.abc import Callable

from binaries import command_line


def define_flags() -> None:
  """Defines the flags of a run; what is trained is fixed."""
  from absl import flags

  from binaries import run_flags

  run_flags.define_flags()
  flags.adopt_module_key_flags(run_flags)


def prepare() -> Callable[[], int]:
  """Checks the flags and returns the run."""
  from binaries import run_flags
  from tff_robust import config

  options = run_flags.options_from_flags()
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(dataset='digits', num_clients=25),
    training=config.TrainingConfig(
      model='logistic',
      algorithm='fed_avg',
      clients_per_round=25,
      num_rounds=40,
      batch_size=40,
      batch_sampling='poisson',
      client_learning_rate=0.7,
    ),
    aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 11}),
    attack=config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': 0.5},
      num_byzantine=11,
      start=25,
    ),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=3.0),
  )

  from binaries import experiment as experiment_lib

  return experiment_lib.prepare(experiment, options).run_and_report


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare)
