"""Tests of tff_robust/privacy/privacy_statement.py."""

import fractions
import math
import random

import pytest

from tff_robust.privacy import privacy_statement


@pytest.mark.parametrize(
  ('value', 'digits', 'text'),
  [
    (11.8001, 3, '11.9'),
    (4.1203, 4, '4.121'),
    (4.1206, 4, '4.121'),
    (9.991, 3, '10'),
    (15_790_001.0, 4, '1.58e+07'),
    (1.0, 3, '1'),
    (2.5, 3, '2.5'),
    (128.0, 4, '128'),
    (0.0, 3, '0'),
    (math.inf, 3, 'inf'),
  ],
)
def test_figures_are_rounded_up_unless_they_are_exact(value, digits, text):
  assert privacy_statement.rounded_up(value, digits=digits) == text


@pytest.mark.parametrize('digits', [3, 4])
def test_no_printed_figure_is_below_the_true_one_nor_far_above_it(digits):
  generator = random.Random(7)
  for _ in range(1000):
    value = 10.0 ** generator.uniform(-9, 9)
    printed = fractions.Fraction(privacy_statement.rounded_up(value, digits=digits))
    exact = fractions.Fraction(value)
    assert exact <= printed < exact * (1 + fractions.Fraction(10) ** (1 - digits))


@pytest.mark.parametrize(('epsilon', 'text'), [(4.1203, '4.121'), (None, 'none')])
def test_the_table_rounds_up(epsilon, text):
  figure = privacy_statement.PrivacyFigure(
    view='example',
    epsilon=epsilon,
    reason=None if epsilon else 'Not clipped.',
    delta=1e-5,
    accountant='pld',
    adjacency='add or remove one example',
    sampling_model='Poisson with probability 0.1',
    sampling_probability=0.1,
    noise_multiplier=1.0,
    compositions=12,
    participation_count=6,
    steps=12,
  )
  statement = privacy_statement.PrivacyStatement(
    mechanism='DP-SGD', figures=(figure,), assumptions=()
  )
  (line,) = [line for line in statement.table().splitlines() if line.startswith('example')]
  assert line.split()[1] == text
