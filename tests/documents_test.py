"""What the documents say in words, tables and figures, held against other sources than the code.

The examples themselves are executed by `readme_test.py`.
"""

import dataclasses
import math
import pathlib
import re

from tff_robust.program import guarantees, history, summary

DOCS = pathlib.Path(__file__).parent.parent / 'docs'
CERTIFICATES = (DOCS / 'certificates.md').read_text(encoding='utf-8')


def said(document, variables):
  """Returns the figures beside the line that prints these variables, rounded."""
  (figures,) = re.findall(rf'^print\({re.escape(variables)}\)  # ([^:\n]+)', document, re.MULTILINE)
  return [float(figure) for figure in figures.split()]


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
  assert set(re.findall(r'`(\w+)`', promised)) <= fields(guarantees.Guarantees)
