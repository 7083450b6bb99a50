import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from computations import byzantine_client_work, dp_client_work, local_training
from tff_robust.attacks import attack as attack_lib
from tff_robust.attacks import attack_schedule, inner_product_manipulation, sign_flip
from tff_robust.privacy import dp_gradient
from tff_robust.testing import toy_problems

NUM_CLIENTS, NUM_BYZANTINE, EPSILON = 6, 2, 0.5
HONEST = slice(NUM_BYZANTINE, None)
ALWAYS = attack_schedule.AttackSchedule()


def honest_work(noise_multiplier=1.0):
  return dp_client_work.build_dp_client_work(
    toy_problems.softmax_regression(),
    training=local_training.LocalTraining(algorithm='fed_sgd', batch_size=5),
    mechanism=dp_gradient.GradientMechanism(
      l2_norm_clip=1.0, noise_multiplier=noise_multiplier, expected_batch_size=5
    ),
    seed=1,
  )


def wrap(knowledge='honest_messages', attack=None, schedule=ALWAYS, byzantine_dp_noise=False):
  needs_clean = knowledge.endswith('_clean') or byzantine_dp_noise
  return byzantine_client_work.build_byzantine_client_work(
    honest_work(),
    attack=attack or inner_product_manipulation.build_inner_product_manipulation(epsilon=EPSILON),
    knowledge=knowledge,
    schedule=schedule,
    seed=1,
    clean_work=honest_work(0.0) if needs_clean else None,
    byzantine_dp_noise=byzantine_dp_noise,
  )


def run(work, num_rounds=1, num_byzantine=NUM_BYZANTINE):
  """Returns the messages [clients, d] of each round at unchanged weights."""
  problem = toy_problems.blobs(num_clients=NUM_CLIENTS, examples_per_client=12)
  values = toy_problems.cohort(problem, num_byzantine=num_byzantine)
  initial = tff.learning.models.ModelWeights(
    [np.zeros([4, 3], np.float32), np.zeros([3], np.float32)], []
  )
  state, rounds = work.initialize(), []
  for _ in range(num_rounds):
    output = work.next(state, [initial] * NUM_CLIENTS, values)
    rounds.append(np.array([result.update['message'] for result in output.result]))
    state = output.state
  return rounds


@pytest.fixture(scope='module')
def sent():
  """Messages as everybody would send them honestly, with and without noise."""
  return {'messages': run(honest_work(), 2), 'clean': run(honest_work(0.0), 2)}


def test_wrapper_keeps_the_types_of_honest_work_and_adds_the_adversary_to_the_state():
  plain, wrapped = honest_work().next.type_signature, wrap().next.type_signature
  assert str(wrapped.result.result) == str(plain.result.result)
  assert str(wrapped.result.measurements) == str(plain.result.measurements)
  assert str(wrapped.parameter[2]) == str(plain.parameter[2])
  assert str(wrapped.parameter[0]) == (
    '<honest=<seed=int64[2],round=int64>,clean=<>,'
    'adversary=<memory=<>,seed=int64[2],round=int64>>@SERVER'
  )


@pytest.mark.parametrize('knowledge', attack_lib.KNOWLEDGE)
def test_compromised_clients_send_the_manipulation_of_what_they_know(knowledge, sent):
  rows = run(wrap(knowledge))[0]
  source = sent['clean' if knowledge.endswith('_clean') else 'messages'][0]
  seen = source[HONEST] if knowledge.startswith('honest_') else source[:NUM_BYZANTINE]
  expected = -EPSILON * seen.astype(np.float64).mean(axis=0)
  for row in rows[:NUM_BYZANTINE]:
    np.testing.assert_allclose(row, expected, atol=1e-6)
  np.testing.assert_array_equal(rows[HONEST], sent['messages'][0][HONEST])


@pytest.mark.parametrize('noise_multiplier', [None, 1.0])
def test_constrained_attackers_train_near_the_broadcast_model_while_the_attack_is_on(
  noise_multiplier,
):
  mechanism = noise_multiplier and dp_gradient.GradientMechanism(
    l2_norm_clip=1.0, noise_multiplier=noise_multiplier, expected_batch_size=5
  )
  schedule = attack_schedule.AttackSchedule(start_round=1, stop_round=2)

  def messages(anomaly_weight):
    work = dp_client_work.build_dp_client_work(
      toy_problems.softmax_regression(),
      training=local_training.LocalTraining(
        algorithm='fed_avg', batch_size=5, local_epochs=5, learning_rate=0.3
      ),
      mechanism=mechanism,
      seed=1,
      anomaly_weight=anomaly_weight,
      schedule=schedule,
    )
    return run(work, num_rounds=3)

  plain, constrained = messages(0.0), messages(0.7)
  for round_index in (0, 2):
    np.testing.assert_allclose(constrained[round_index], plain[round_index], atol=1e-6)
  np.testing.assert_allclose(constrained[1][HONEST], plain[1][HONEST], atol=1e-6)
  for near, far in zip(constrained[1][:NUM_BYZANTINE], plain[1][:NUM_BYZANTINE], strict=True):
    assert 0 < np.linalg.norm(near) < 0.5 * np.linalg.norm(far)


def test_an_anomaly_weight_is_refused_where_no_client_leaves_the_broadcast_model():
  with pytest.raises(
    ValueError, match=r"anomaly_weight=0\.5 has no effect with algorithm 'fed_sgd'"
  ):
    dp_client_work.build_dp_client_work(
      toy_problems.softmax_regression(),
      training=local_training.LocalTraining(algorithm='fed_sgd', batch_size=5),
      seed=1,
      anomaly_weight=0.5,
    )


def test_every_client_is_honest_before_the_attack_starts(sent):
  first, second = run(wrap(schedule=attack_schedule.AttackSchedule(start_round=1)), num_rounds=2)
  np.testing.assert_array_equal(first, sent['messages'][0])
  assert np.abs(second[:NUM_BYZANTINE] - sent['messages'][1][:NUM_BYZANTINE]).max() > 0.01
  np.testing.assert_array_equal(second[HONEST], sent['messages'][1][HONEST])


def test_attack_is_on_in_every_third_round_until_it_ends():
  schedule = attack_schedule.AttackSchedule(start_round=1, stop_round=6, every=3)
  attacked = run(wrap(schedule=schedule), num_rounds=8)
  honest = run(honest_work(), num_rounds=8)
  differ = [bool((one != other).any()) for one, other in zip(attacked, honest, strict=True)]
  assert differ == [False, True, False, False, True, False, False, False]


def test_no_byzantine_client_changes_nothing(sent):
  np.testing.assert_array_equal(run(wrap(), num_byzantine=0)[0], sent['messages'][0])


def test_each_sign_flipper_flips_its_own_message(sent):
  rows = run(wrap('own_messages', sign_flip.build_sign_flip(scale=2.0)))[0]
  expected = -2.0 * sent['messages'][0][:NUM_BYZANTINE]
  np.testing.assert_allclose(rows[:NUM_BYZANTINE], expected, atol=1e-6)


def test_byzantine_noise_is_the_noise_of_the_clients_own_honest_message(sent):
  silent, noisy = run(wrap())[0], run(wrap(byzantine_dp_noise=True))[0]
  noise = (sent['messages'][0] - sent['clean'][0])[:NUM_BYZANTINE]
  assert np.abs(noise[0] - noise[1]).max() > 0.01
  np.testing.assert_allclose(noisy[:NUM_BYZANTINE] - silent[:NUM_BYZANTINE], noise, atol=1e-6)
  np.testing.assert_array_equal(noisy[HONEST], silent[HONEST])


def test_a_byzantine_client_whose_own_training_diverged_attacks_without_noise(monkeypatch):
  silent = run(wrap())[0]
  original = toy_problems.cohort

  def diverging(problem, **options):
    values = original(problem, **options)
    first = values[0]
    first['examples'] = first['examples'].map(
      lambda example: collections.OrderedDict(x=example['x'] * float('nan'), y=example['y'])
    )
    return values

  monkeypatch.setattr(toy_problems, 'cohort', diverging)
  noisy = run(wrap(byzantine_dp_noise=True))[0]
  np.testing.assert_allclose(noisy[0], silent[0], atol=1e-6)
  assert np.isfinite(noisy).all()
  assert np.abs(noisy[1] - silent[1]).max() > 0.01


def test_views_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match=r"'honest_messages' makes no sense with attack 'sign_flip'"):
    wrap('honest_messages', sign_flip.build_sign_flip(scale=1.0))
  with pytest.raises(ValueError, match="Did you mean 'own_clean'"):
    wrap('own_cleen')


@pytest.mark.parametrize(('knowledge', 'clean'), [('honest_clean', False), ('own_messages', True)])
def test_clean_work_is_demanded_exactly_when_it_is_needed(knowledge, clean):
  with pytest.raises(ValueError, match='clean_work must be given exactly when'):
    byzantine_client_work.build_byzantine_client_work(
      honest_work(),
      attack=inner_product_manipulation.build_inner_product_manipulation(epsilon=1.0),
      knowledge=knowledge,
      schedule=ALWAYS,
      seed=1,
      clean_work=honest_work(0.0) if clean else None,
    )
