"""The pre-aggregators. To add one, write its module and add a row here: see CONTRIBUTING.md."""

from collections.abc import Mapping

from tff_robust import deviations
from tff_robust.catalogue import entry as entry_lib
from tff_robust.catalogue import round_sizes

_MAX_BYZANTINE = entry_lib.same_names('max_byzantine')


def _preaggregator(name: str, reads: Mapping[str, str]) -> entry_lib.Entry:
  return entry_lib.Entry(
    f'tff_robust.preaggregators.{name}:build_{name}',
    reads,
    deviations=deviations.PREAGGREGATORS.get(name, {}),
  )


PREAGGREGATORS: dict[str, entry_lib.Entry] = {
  'nearest_neighbor_mixing': _preaggregator('nearest_neighbor_mixing', _MAX_BYZANTINE)._replace(
    required_clients=round_sizes.majority
  ),
  'bucketing': _preaggregator('bucketing', entry_lib.same_names('bucket_size'))._replace(
    rows_after=lambda num_rows, options: -(-num_rows // int(options['bucket_size']))
  ),
  'static_clipping': _preaggregator('static_clipping', entry_lib.same_names('max_norm')),
  'adaptive_clipping': _preaggregator('adaptive_clipping', _MAX_BYZANTINE)._replace(
    required_clients=round_sizes.majority
  ),
  'noise_consistency_filter': _preaggregator('noise_consistency_filter', {})._replace(
    takes_noise_limits=True
  ),
}
