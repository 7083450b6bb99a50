r"""Trains a model with federated learning while some clients lie, and says what it cost.

For example, on the embedded digits:

  python -m binaries.train --dataset=digits --model=mlp --num_rounds=50 \
    --aggregator=krum --max_byzantine=11 \
    --attack=inner_product_manipulation --attack_epsilon=0.1 --num_byzantine=11 \
    --attack_start=10

or from a file of flags: --flagfile=binaries/flagfiles/cifar10_krum_ipm.flags. Ctrl-C
ends a run after the round at hand; --resume goes on with it. A run whose model diverges
is a result like any other: exit status 0, and status=diverged in its summary.
"""

from __future__ import annotations

from collections.abc import Callable

from binaries import command_line


def define_flags() -> None:
  """Defines the flags, all of them shown by --help."""
  from absl import flags

  from binaries import experiment_flags, run_flags

  for module in (experiment_flags, run_flags):
    module.define_flags()
    flags.adopt_module_key_flags(module)


def prepare() -> Callable[[], int]:
  """Checks the flags, then the data behind them, and returns the run."""
  from binaries import experiment_flags, run_flags
  from tff_robust.program import run_folder

  options = run_flags.options_from_flags()
  if options.resume and options.output_dir is not None:
    stored, _ = run_folder.load(options.output_dir)
    experiment = experiment_flags.resumed(stored)
  else:
    experiment = experiment_flags.config_from_flags()
  experiment_flags.check_without_data(experiment)

  from binaries import experiment as experiment_lib

  return experiment_lib.prepare(experiment, options).run_and_report


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare, takes_plugins=True)
