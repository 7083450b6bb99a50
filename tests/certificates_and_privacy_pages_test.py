"""What the documents say in words, tables and figures, held against other sources than the code.

The examples themselves are executed by `readme_test.py`.
"""

import dataclasses
import math
import pathlib
import re

import dp_accounting
import pytest
from scipy import stats

from binaries import experiment_settings
from tff_robust import config
from tff_robust.privacy import mechanisms
from tff_robust.program import guarantees, history, summary

DOCS = pathlib.Path(__file__).parent.parent / 'docs'
CERTIFICATES = (DOCS / 'certificates.md').read_text(encoding='utf-8')

PRIVACY = (DOCS / 'privacy.md').read_text(encoding='utf-8')


def said(document, variables):
  """Returns the figures beside the line that prints these variables, rounded."""
  (figures,) = re.findall(rf'^print\({re.escape(variables)}\)  # ([^:\n]+)', document, re.MULTILINE)
  return [float(figure) for figure in figures.split()]


def table(document, *header):
  """Returns the cells of each row of the table with this header."""
  text = document.partition('| ' + ' | '.join(header) + ' |\n')[2].partition('\n\n')[0]
  rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()[1:]]
  assert rows
  assert {len(row) for row in rows} == {len(header)}
  return rows


def fields(kind):
  return {field.name for field in dataclasses.fields(kind)}


def test_breaking_points_are_those_that_follow_by_hand():
  honest_energy, signal = 12 * 2, 0.1 + 1 / 14
  hand = math.sqrt((honest_energy / 2 - 13 / 14) / signal) - 1
  closed, critical, drowned = said(
    CERTIFICATES, 'round(closed, 3), round(critical, 3), round(drowned, 3)'
  )
  assert said(CERTIFICATES, 'round(lower, 3), round(upper, 3)') == [0, round(hand, 3)]
  assert closed == round(hand, 3)
  assert critical == round((11 + 1 / 14) / 1.1**2 - 1 / 14, 3)
  assert drowned == round(math.sqrt(14 * 11 + 1) - 1, 3)


def test_other_rules_turn_where_it_follows_by_hand():
  ways = sum(math.comb(14, below) for below in range(2, 13))
  assert ways == 2**14 - 30
  assert said(CERTIFICATES, 'round(mean, 3), round(multi_krum, 3), round(median, 4)') == [
    round(14 / 11, 3),
    round(3 / 11, 3),
    round(ways / 2**14, 4),
  ]
  # Fourteen unit vectors of equal inclination sum to no more than eleven where their squared
  # cosine is at most (11/14)^2; the part along the mean is (1 + epsilon) |mean|.
  share = (11 / 14) ** 2
  geometric = math.sqrt(share / (1 - share) * (13 / 14) / (0.1 + 1 / 14)) - 1
  assert said(CERTIFICATES, 'round(geometric, 3), round(mixing, 3)') == [round(geometric, 3), 1.5]


def test_cohorts_are_counted_as_subsets_are():
  probability = [
    math.comb(11, held) * math.comb(89, 25 - held) / math.comb(100, 25) for held in range(12)
  ]
  single = sum(probability[6:])
  risk = [1 - (1 - sum(probability[f + 1 :])) ** 20 for f in range(12)]
  assert risk[8] <= 0.01 < risk[7]
  assert said(CERTIFICATES, 'round(single, 4), round(run, 3), safe') == [
    round(single, 4),
    round(risk[5], 3),
    8,
  ]


def test_the_table_of_logged_certificates_names_columns_of_the_history():
  listed = re.findall(r'^\| `(\w+)` \|', CERTIFICATES, re.MULTILINE)
  assert len(listed) == 6
  assert set(listed) <= set(history.COLUMNS)


def test_what_the_summary_is_said_to_add_is_in_it():
  text = CERTIFICATES.partition('`summary.json` adds')[2]
  whole, _, promised = text.partition('`guarantees`')
  assert len(set(re.findall(r'`(\w+)`', whole)) & fields(summary.Summary)) == 6
  assert set(re.findall(r'`(\w+)`', whole)) <= fields(summary.Summary)
  named = set(re.findall(r'`(\w+)`', promised))
  assert named
  assert named <= fields(guarantees.Guarantees)


MECHANISMS = table(
  PRIVACY, '`clip_unit`', '`noise_scale`', 'noise', 'sensitivity', 'effective multiplier'
)


def test_the_table_of_mechanisms_has_all_six():
  pairs = [(unit.strip('`'), scale.strip('`')) for unit, scale, *_ in MECHANISMS]
  assert pairs == [(u, s) for u in mechanisms.CLIP_UNITS for s in mechanisms.NOISE_SCALES]


@pytest.mark.parametrize('row', MECHANISMS, ids=lambda row: ' '.join(row[:2]))
def test_formulas_of_a_mechanism_are_what_it_does(row):
  mechanism = mechanisms.Mechanism(
    l2_norm_clip=3.0,
    noise_multiplier=1.7,
    expected_batch_size=25.0,
    clip_unit=row[0].strip('`'),
    noise_scale=row[1].strip('`'),
  )
  letters = {'B': 25.0, 'C': 3.0, 'z': 1.7, 'sqrt': math.sqrt}
  noise, sensitivity, effective = (eval(formula, letters) for formula in row[2:])  # Ours.
  assert effective == pytest.approx(noise / sensitivity)
  assert mechanism.noise_stddev == pytest.approx(noise)
  assert mechanism.sensitivity == pytest.approx(sensitivity)
  assert mechanism.effective_noise_multiplier == pytest.approx(effective)


def test_the_table_of_flags_has_every_flag_of_privacy_with_its_choices_and_default():
  settings = {
    setting.flag: setting
    for setting in experiment_settings.SETTINGS
    if setting.section == 'privacy' or setting.flag == 'batch_sampling'
  }
  rows = table(PRIVACY, 'flag', 'values', 'left out')
  assert [flag.strip('`-') for flag, _, _ in rows] == list(
    dict.fromkeys([*(flag for flag in settings if flag != 'batch_sampling'), 'batch_sampling'])
  )
  defaults = {**vars(config.PrivacyConfig()), **vars(config.TrainingConfig(num_rounds=1))}
  for flag, values, left_out in rows:
    setting = settings[flag.strip('`-')]
    if setting.choices:
      assert values == ', '.join(f'`{choice}`' for choice in setting.choices)
    if defaults[setting.field] is not None:
      assert left_out == f'`{defaults[setting.field]}`'


def epsilon_by_dp_accounting(noise_multiplier):
  """Returns epsilon of the example of the document, by the library alone."""
  step = dp_accounting.PoissonSampledDpEvent(
    64 / 2160, dp_accounting.GaussianDpEvent(noise_multiplier)
  )
  accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
  return accountant.compose(step, 680).get_epsilon(1e-5)


def test_the_noise_multiplier_for_epsilon_is_the_least_that_gives_it():
  (multiplier,) = said(PRIVACY, 'round(multiplier, 3)')
  assert (
    epsilon_by_dp_accounting(multiplier + 0.001) <= 2 < epsilon_by_dp_accounting(multiplier - 0.002)
  )
  assert f'--noise_multiplier={math.ceil(100 * multiplier) / 100}`' in PRIVACY


def test_epsilon_of_the_statement_is_that_of_the_library():
  (stated,) = re.findall(r'^example  (\S+) +1e-05  pld  ', PRIVACY, re.MULTILINE)
  assert float(stated) == pytest.approx(epsilon_by_dp_accounting(1.1), abs=0.005)


def test_largest_batch_of_the_client_view_leaves_half_of_delta():
  batch = stats.binom(2160, 64 / 2160)
  assert batch.sf(113) <= 0.5 * 1e-5 / 680 < batch.sf(112)
  assert f'x z={1.1 / (2 * 113):.4g}' in PRIVACY
