"""The rule or pre-aggregator of a work, ready for rows of unit noise."""

from binaries.benchmarks import work as work_lib
from tff_robust import registry
from tff_robust.aggregators import rule as rule_lib
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import message_noise, noise_limits
from tff_robust.testing import trial_root


def rule(work: work_lib.RuleWork) -> rule_lib.AggregationRule:
  """Returns the rule of a work; one that looks at a root set is given a small one."""
  built = registry.build(registry.AGGREGATORS, work.rule, work.options)
  return trial_root.bind(built) if isinstance(built, rule_lib.RootedRule) else built


def step(work: work_lib.RuleWork) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator of a work."""
  noise = message_noise.MessageNoise(noise_stddev=1.0, independent_bound=1.0)
  limits = noise_limits.noise_limits(
    [noise], dimension=work.dimension, num_clients=work.num_clients
  )
  return registry.build(registry.PREAGGREGATORS, work.rule, work.options, noise_limits=limits)
