"""The promises of the contracts that entries of the registry do not keep, and why.

What is not named here keeps every promise of `testing.rule_contract`,
`testing.attack_contract` or `testing.preaggregator_contract`. A deviation is tested as well: it
has to show. Free of TensorFlow.
"""

from collections.abc import Mapping

_FROM_ZERO = 'It measures updates from zero.'

RULES: Mapping[str, Mapping[str, str]] = {
  'mean': {
    'ignores_weights': 'It is the weighted mean of federated averaging.',
    'survives_far_rows': 'It has no robustness: one row moves it anywhere.',
  },
  'bulyan': {
    'keeps_row_order': 'Its last selections count so few neighbours that two rows which are each'
    " other's nearest tie, and the first wins.",
  },
  'minimum_diameter_averaging': {
    'keeps_row_order': 'Many subsets share a diameter, which is the distance of one pair, and the'
    ' first wins.',
  },
  'divide_and_conquer': {
    'survives_far_rows': 'It filters along the direction in which rows differ most: rows that are'
    ' less far, or far in other directions, stay.',
  },
  'comparative_gradient_elimination': {'moves_with_the_origin': _FROM_ZERO},
  'centered_clipping': {
    'moves_with_the_origin': 'It starts from its last aggregate, in a first round from zero.',
    'moves_with_the_scale': 'The radius of clipping is absolute.',
    'returns_a_shared_row': 'It moves towards the rows by at most the radius.',
    'stays_within_the_rows': 'It moves towards the rows by at most the radius.',
  },
  'foolsgold': {
    'moves_with_the_origin': _FROM_ZERO,
    'returns_a_shared_row': 'Rows that all point the same way are sybils to it.',
    'survives_far_rows': 'A lone attacker resembles nobody and keeps its weight.',
  },
  'sign_majority': {
    'moves_with_the_origin': _FROM_ZERO,
    'moves_with_the_scale': 'Signs have no scale.',
    'returns_a_shared_row': 'It returns signs.',
    'stays_within_the_rows': 'It returns signs.',
  },
  'fltrust': {
    'moves_with_the_origin': _FROM_ZERO,
    'moves_with_the_scale': "The aggregate has the length of the server's own update.",
    'returns_a_shared_row': "The aggregate has the length of the server's own update.",
    'stays_within_the_rows': "The aggregate has the length of the server's own update.",
  },
  'zeno': {
    'moves_with_the_origin': 'It tries updates on the root set as they are.',
    'moves_with_the_scale': 'It tries updates on the root set as they are.',
  },
  'krum_alie_authors': {
    'drops_nonfinite_rows': 'It returns the last client when no score is finite.',
    'lowers_f_by_what_it_drops': 'It counts n - f others, some of which are not finite.',
    'rejects_hopeless_rounds': 'It returns the last client.',
  },
  'multi_krum_ndss21': {
    'keeps_row_order': 'Its last selections count f others, so that with f = 0 all rows tie, and'
    " with f = 1 two which are each other's nearest.",
    'lowers_f_by_what_it_drops': 'It averages n - 2f - 2 rows, fewer than at a lower f.',
  },
  'krum_flower_legacy': {
    'survives_far_rows': 'It accepts rounds in which one neighbour counts: two far rows that agree'
    ' have no distance.',
    'drops_nonfinite_rows': 'It takes NaN for the smallest score.',
    'lowers_f_by_what_it_drops': 'It takes NaN for the smallest score.',
    'rejects_hopeless_rounds': 'It takes NaN for the smallest score.',
  },
  'krum_reversed': {
    'keeps_row_order': "Several rows that are nobody's neighbour tie.",
    'survives_far_rows': "A row that is nobody's neighbour has an empty sum, and wins.",
  },
}

_BY_NAME = {
  'sends_finite_rows_although_it_sees_others': 'Its rows are not finite, by its very name.',
  'does_not_overflow': 'Its rows are not finite, by its very name.',
}

ATTACKS: Mapping[str, Mapping[str, str]] = {'nan': _BY_NAME, 'infinite': _BY_NAME}

PREAGGREGATORS: Mapping[str, Mapping[str, str]] = {
  'bucketing': {'keeps_row_order': 'Buckets are drawn for places in the order, not for clients.'},
  'static_clipping': {
    'moves_with_the_origin': _FROM_ZERO,
    'moves_with_the_scale': 'The norm to which it clips is absolute.',
    'returns_a_shared_row': 'It clips rows that agree as well.',
  },
  'adaptive_clipping': {'moves_with_the_origin': _FROM_ZERO},
  'noise_consistency_filter': {
    'moves_with_the_origin': 'It knows the noise around a bounded signal.',
    'moves_with_the_scale': 'It knows the size of the noise.',
    'returns_a_shared_row': 'Rows with noise of their own do not agree.',
  },
}
