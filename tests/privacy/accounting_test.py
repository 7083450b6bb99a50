"""Tests of tff_robust/privacy/accounting.py."""

import math
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies

from tff_robust.privacy import accounting, mechanisms

# Epsilon at delta 1e-5 of 'rdp' and 'pld', sampling probability 0.02, by noise multiplier
# and number of steps. These and the figures of the tests below come from dp_accounting 0.4.3
# alone, without this package.
_STEPS = (50, 100, 250, 500, 1000, 2500, 5000, 10000)
_TABLE = {
  0.5: '9.73/7.97 11.6/9.69 15.4/13.2 20.1/17.6 27.3/24.3 44.0/39.9 66.1/61.0 104/97.4',
  1: '1.61/1.14 1.84/1.43 2.40/2.03 3.14/2.77 4.32/3.90 6.93/6.35 10.2/9.40 15.3/14.2',
  2: '.352/.289 .457/.405 .713/.643 1.02/.922 1.46/1.33 2.38/2.19 3.48/3.21 5.15/4.76',
  3: '.190/.169 .268/.240 .429/.388 .616/.559 .888/.810 1.45/1.33 2.11/1.95 3.10/2.87',
  5: '.102/.0914 .147/.132 .237/.215 .343/.312 .496/.452 .810/.743 1.18/1.08 1.72/1.59',
}


def _epsilon(accountant='rdp', sampling_probability=0.02, noise_multiplier=1.0, num_steps=1000):
  return accounting.dp_sgd_epsilon(
    sampling_probability=sampling_probability,
    noise_multiplier=noise_multiplier,
    num_steps=num_steps,
    delta=1e-5,
    accountant=accountant,
  )


def _mechanism(noise_multiplier=1.0, clip_unit='example', noise_scale='sum_then_divide'):
  return mechanisms.Mechanism(
    l2_norm_clip=5.0,
    noise_multiplier=noise_multiplier,
    expected_batch_size=10,
    clip_unit=clip_unit,
    noise_scale=noise_scale,
  )


def _account(mechanism, **changes):
  values = {
    'algorithm': 'fed_avg',
    'batch_sampling': 'poisson',
    'examples_per_client': 500,
    'participations': 50,
    'steps_per_participation': 50,
    'accountants': ('rdp',),
    **changes,
  }
  return accounting.account(mechanism=mechanism, **values)


def _client_figure(statement):
  return next(figure for figure in statement.figures if figure.view == 'client')


@pytest.mark.parametrize('noise_multiplier', _TABLE)
def test_poisson_table(noise_multiplier):
  cells = [tuple(map(float, cell.split('/'))) for cell in _TABLE[noise_multiplier].split()]
  for num_steps, (renyi, distribution) in zip(_STEPS, cells, strict=True):
    values = {'noise_multiplier': noise_multiplier, 'num_steps': num_steps}
    assert _epsilon('rdp', **values) == pytest.approx(renyi, rel=0.01)
    assert _epsilon('pld', **values) == pytest.approx(distribution, rel=0.01)


def test_mnist_tutorial_of_tf_privacy():
  mnist = {
    'sampling_probability': 256 / 60_000,
    'noise_multiplier': 1.1,
    'num_steps': 60 * 60_000 // 256,
  }
  # Published with the conversion of 2017; today's conversion is tighter.
  assert _epsilon('rdp_classic', **mnist) == pytest.approx(3.01, abs=0.005)
  assert _epsilon('rdp', **mnist) == pytest.approx(2.60, abs=0.005)
  assert _epsilon('pld', **mnist) == pytest.approx(2.39, abs=0.005)


@hypothesis.settings(max_examples=6, deadline=None, derandomize=True)
@hypothesis.given(
  probability=strategies.floats(1e-3, 0.1),
  noise=strategies.floats(0.5, 8.0),
  steps=strategies.integers(1, 3000),
  accountant=strategies.sampled_from(accounting.ACCOUNTANTS),
)
def test_more_noise_less_sampling_and_fewer_steps_never_cost_more(
  probability, noise, steps, accountant
):
  # A tenth of a percent allows for the grid of privacy loss distributions.
  base = _epsilon(accountant, probability, noise, steps) * 1.001 + 1e-3
  assert _epsilon(accountant, probability, noise * 1.3, steps) <= base
  assert _epsilon(accountant, probability / 1.3, noise, steps) <= base
  assert _epsilon(accountant, probability, noise, steps // 2) <= base


def test_no_noise_is_infinite_and_no_steps_are_free():
  for accountant in accounting.ACCOUNTANTS:
    assert _epsilon(accountant, noise_multiplier=0) == math.inf
    assert _epsilon(accountant, noise_multiplier=0, num_steps=0) == 0.0


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'sampling_probability': 0}, 'sampling_probability=0'),
    ({'sampling_probability': 1.1}, 'sampling_probability=1.1'),
    ({'noise_multiplier': -1}, 'noise_multiplier=-1'),
    ({'num_steps': -1}, 'num_steps=-1'),
    ({'accountant': 'rpd'}, "Did you mean 'rdp'"),
  ],
)
def test_refuses_bad_values_by_name(changes, message):
  with pytest.raises(ValueError, match=message):
    _epsilon(**changes)


@pytest.mark.parametrize('accountant', accounting.ACCOUNTANTS)
@pytest.mark.parametrize('target', [0.5, 3.9, 40.0])
def test_noise_multiplier_meets_its_target_and_less_noise_does_not(accountant, target):
  values = {'sampling_probability': 0.02, 'num_steps': 1000}
  noise = accounting.dp_sgd_noise_multiplier(
    target_epsilon=target, delta=1e-5, accountant=accountant, **values
  )
  assert _epsilon(accountant, noise_multiplier=noise, **values) <= target * (1 + 1e-3)
  assert _epsilon(accountant, noise_multiplier=noise * 0.999, **values) > target * (1 - 1e-3)


def test_noise_multiplier_inverts_the_table():
  noise = accounting.dp_sgd_noise_multiplier(
    target_epsilon=3.90, sampling_probability=0.02, num_steps=1000, delta=1e-5
  )
  assert noise == pytest.approx(1.0, rel=0.01)


def test_noise_multiplier_says_when_a_target_cannot_be_certified():
  with pytest.raises(ValueError, match='target_epsilon=1e-06 cannot be certified'):
    accounting.dp_sgd_noise_multiplier(
      target_epsilon=1e-6, sampling_probability=1, num_steps=10, delta=1e-9, accountant='rdp'
    )


def test_shuffled_epochs_compose_one_gaussian_each():
  shuffled = {'batch_sampling': 'shuffle', 'local_epochs': 1}
  expected = {0.5: (166, 159), 1: (57.3, 54.4), 2: (22.0, 20.7), 3: (13.1, 12.3), 5: (7.08, 6.57)}
  for noise, epsilons in expected.items():
    for accountant, epsilon in zip(('rdp', 'pld'), epsilons, strict=True):
      main = _account(_mechanism(noise), accountants=(accountant,), **shuffled).main
      assert main.epsilon == pytest.approx(epsilon, rel=0.01)
      assert (main.compositions, main.steps, main.participation_count) == (50, 2500, 50)
  assert main.adjacency == 'zero out one example'
  # Four local epochs in each of 50 rounds are the 200 epochs of the long run.
  long = _account(
    _mechanism(), batch_sampling='shuffle', local_epochs=4, steps_per_participation=200
  )
  assert long.main.epsilon == pytest.approx(166, rel=0.01)


def test_fixed_size_batches_without_replacement():
  fixed = {
    'algorithm': 'fed_sgd',
    'batch_sampling': 'shuffle',
    'participations': 2500,
    'steps_per_participation': 1,
  }
  for noise, epsilon in {1: 117, 3: 7.74}.items():
    main = _account(_mechanism(noise), **fixed).main
    assert main.epsilon == pytest.approx(epsilon, rel=0.01)
    assert main.adjacency == 'replace one example'
  missing = _account(_mechanism(), accountants=('pld',), **fixed).main
  assert missing.epsilon is None
  assert 'without replacement' in missing.reason
  # What one accountant cannot bound, the next one does.
  both = _account(_mechanism(), accountants=('pld', 'rdp'), **fixed)
  assert both.figures[0].epsilon is None
  assert (both.main.accountant, both.main.view, both.main.delta) == ('rdp', 'example', 1e-5)


def test_clipping_the_mean_halves_the_noise_multiplier():
  literal = {'clip_unit': 'minibatch_mean', 'noise_scale': 'on_mean'}
  for noise, epsilon in {0.5: 407, 1: 44, 2: 6.93, 3: 3.52, 5: 1.80}.items():
    main = _account(_mechanism(noise, **literal)).main
    assert main.epsilon == pytest.approx(epsilon, rel=0.01)
    assert main.noise_multiplier == pytest.approx(noise / 2)


def test_client_view_of_a_clipped_mean():
  literal = {'clip_unit': 'minibatch_mean', 'noise_scale': 'on_mean'}
  run = {'algorithm': 'fed_sgd', 'participations': 50, 'steps_per_participation': 1}
  for noise, epsilon in {0.5: 535, 1: 166, 2: 57.3, 3: 32.3, 5: 16.5}.items():
    figure = _client_figure(_account(_mechanism(noise, **literal), **run))
    assert figure.epsilon == pytest.approx(epsilon, rel=0.01)
    assert figure.adjacency == "replace a client's data set"


def test_client_view_of_clipped_examples_pays_for_every_example_of_the_batch():
  run = {'algorithm': 'fed_sgd', 'participations': 50, 'steps_per_participation': 1}
  shuffled = _client_figure(_account(_mechanism(20.0), batch_sampling='shuffle', **run))
  # 10 examples move a sum by 2 * 10 clip norms: noise multiplier 1, as in the row of 0.5
  # halved twice over.
  assert shuffled.noise_multiplier == pytest.approx(1.0)
  assert shuffled.epsilon == pytest.approx(57.3, rel=0.01)
  # Poisson batches can be larger than expected, so they protect a client less.
  poisson = _client_figure(_account(_mechanism(20.0), **run))
  assert poisson.noise_multiplier < 0.5
  assert poisson.epsilon > shuffled.epsilon


def test_no_amplification_composes_every_step():
  plain = _account(_mechanism(), amplification='none', participations=1).main
  assert plain.compositions == 50
  assert plain.epsilon == pytest.approx(57.3, rel=0.01)
  assert 'no amplification' in plain.sampling_model


def test_noise_beyond_the_precision_of_divergences_still_has_a_bound():
  # Rounding makes some divergences negative here.
  for accountant in accounting.ACCOUNTANTS:
    assert 0 <= _epsilon(accountant, 0.1, 1e6, 10) < 0.01


def test_refuses_poisson_claims_for_shuffled_batches():
  with pytest.raises(ValueError, match="amplification='poisson' does not hold"):
    _account(_mechanism(), batch_sampling='shuffle', local_epochs=1, amplification='poisson')
  assert _account(_mechanism(), amplification='poisson').main.epsilon == pytest.approx(
    6.93, rel=0.01
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'algorithm': 'fed_sgd'}, 'steps_per_participation=50 must be 1'),
    ({'batch_sampling': 'shuffle'}, 'local_epochs=None'),
    ({'batch_sampling': 'poison'}, "Did you mean 'poisson'"),
    ({'noise_source': 'dice'}, "noise_source='dice'"),
    ({'participations': -1}, 'participations=-1'),
    ({'delta': 0.0}, 'delta=0.0'),
    ({'accountants': ()}, 'number of accountants=0'),
    ({'local_epochs': 0}, 'local_epochs=0'),
  ],
)
def test_account_refuses_contradictions(changes, message):
  with pytest.raises(ValueError, match=message):
    _account(_mechanism(), **changes)


def test_says_why_there_is_no_figure():
  silent = _account(_mechanism(noise_multiplier=0.0))
  assert all(figure.epsilon is None for figure in silent.figures)
  assert 'epsilon is infinite' in silent.main.reason
  unclipped = _account(None)
  assert 'not clipped' in unclipped.main.reason


def test_reports_a_second_delta_and_every_accountant():
  statement = _account(_mechanism(), accountants=('pld', 'rdp'))
  examples = [figure for figure in statement.figures if figure.view == 'example']
  assert [(f.delta, f.accountant) for f in examples] == [
    (1e-5, 'pld'),
    (1e-5, 'rdp'),
    (1e-6, 'pld'),
    (1e-6, 'rdp'),
  ]
  assert examples[0].epsilon == pytest.approx(6.35, rel=0.01)
  assert examples[2].epsilon > examples[0].epsilon
  assert {f.delta for f in _account(_mechanism(), delta=1e-6).figures} == {1e-6}


def test_client_that_never_takes_part_loses_nothing():
  statement = _account(_mechanism(), participations=0)
  assert {figure.epsilon for figure in statement.figures} == {0.0}


def test_states_its_assumptions():
  def text(**changes):
    return ' '.join(_account(_mechanism(), **changes).assumptions)

  assert 'knows that seed' in text()
  assert 'Noise and batches come from the seed' in text()
  drawn = text(noise_source='entropy')
  assert 'Noise and batches' not in drawn
  assert 'no cryptographic one' in drawn
  assert 'may have done before count twice' in drawn
  # Batches still come from the seed, which matters where sampling is given credit.
  assert 'the credit for sampling holds towards nobody who knows that seed' in drawn
  assert 'knows that seed' not in text(noise_source='entropy', amplification='none')
  assert 'drawn independently' in text()
  assert 'drawn independently' not in text(amplification='none')
  assert 'takes part in at most 50 rounds' in text()
  assert 'not below 1/500' in text(delta=0.01)
  assert 'not below' not in text()


@pytest.mark.parametrize(
  ('changes', 'adjacency', 'words'),
  [
    (
      {},
      'add or remove one example',
      'while an example is removed: its gradient then counts as zero.',
    ),
    (
      {'batch_sampling': 'shuffle', 'local_epochs': 1},
      'zero out one example',
      'while an example is zeroed out: its gradient then counts as zero.',
    ),
    (
      {
        'algorithm': 'fed_sgd',
        'batch_sampling': 'shuffle',
        'steps_per_participation': 1,
        'accountants': ('rdp',),
      },
      'replace one example',
      'while an example is replaced by another.',
    ),
  ],
)
def test_assumptions_say_what_happens_to_an_example_as_the_adjacency_does(
  changes, adjacency, words
):
  statement = _account(_mechanism(), **changes)
  (sentence,) = [text for text in statement.assumptions if 'stay as they are' in text]
  assert sentence.endswith(words)
  assert statement.main.adjacency == adjacency


def test_table_prints_conditions_beside_the_figure():
  statement = _account(_mechanism(), accountants=('pld',))
  line = next(line for line in statement.table().splitlines() if line.startswith('example'))
  for part in ('6.346', '1e-05', 'pld', '2500 x z=1', 'add or remove', 'Poisson'):
    assert part in line
  assert statement.to_json()['figures'][0]['accountant'] == 'pld'


def test_imports_without_tensorflow():
  code = (
    'import sys; from tff_robust.privacy import accounting;'
    "sys.exit(any(name.split('.')[0] == 'tensorflow' for name in sys.modules))"
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


@pytest.mark.parametrize(
  ('noise_multiplier', 'num_steps'), [(1e-3, 1000), (1e-4, 10), (0.01, 100_000)]
)
def test_next_to_no_noise_has_a_figure_that_bounds(noise_multiplier, num_steps):
  epsilon = accounting.dp_sgd_epsilon(
    sampling_probability=1.0, noise_multiplier=noise_multiplier, num_steps=num_steps, delta=1e-5
  )
  # The Gaussian mechanism that the composition is loses at least half its mean loss.
  assert 0.25 * num_steps / noise_multiplier**2 < epsilon < math.inf


def test_a_delta_below_what_distributions_can_tell_has_the_renyi_figure():
  values = {'sampling_probability': 0.02, 'noise_multiplier': 5.0, 'num_steps': 300, 'delta': 1e-15}
  found = accounting.dp_sgd_epsilon(**values)
  assert found <= accounting.dp_sgd_epsilon(**values, accountant='rdp') < math.inf


@pytest.mark.parametrize('target', [28.0, 31.0])
def test_calibrated_noise_meets_its_target_where_the_grid_changes(target):
  values = {'sampling_probability': 0.02, 'num_steps': 2500, 'delta': 1e-5}
  noise = accounting.dp_sgd_noise_multiplier(target_epsilon=target, **values)
  assert accounting.dp_sgd_epsilon(noise_multiplier=noise, **values) <= target


@pytest.mark.parametrize('noise_multiplier', [1e-6, 1e6])
@pytest.mark.parametrize('batch_sampling', ['poisson', 'shuffle'])
@pytest.mark.parametrize('algorithm', ['fed_avg', 'fed_sgd'])
def test_next_to_no_and_endless_noise_have_figures(noise_multiplier, batch_sampling, algorithm):
  found = accounting.account(
    mechanism=mechanisms.Mechanism(
      l2_norm_clip=1.0,
      noise_multiplier=noise_multiplier,
      expected_batch_size=100,
      noise_scale='on_mean',
    ),
    algorithm=algorithm,
    batch_sampling=batch_sampling,
    examples_per_client=1000,
    participations=3,
    local_epochs=1 if algorithm == 'fed_avg' else None,
  )
  epsilons = [figure.epsilon for figure in found.figures if figure.reason is None]
  assert epsilons
  if noise_multiplier > 1:
    # Plain Gaussians of multiplier 1e6, of which three are composed: less than 1e-4 by far.
    assert all(0 <= epsilon < 1e-2 for epsilon in epsilons)
  else:
    assert all(epsilon > 1e6 for epsilon in epsilons)
