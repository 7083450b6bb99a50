import pytest
import tensorflow as tf

from tff_robust.attacks import attack_schedule


@pytest.mark.parametrize(
  ('schedule', 'expected'),
  [
    (attack_schedule.AttackSchedule(), [0, 1, 2, 3, 4, 5, 6, 7]),
    (attack_schedule.AttackSchedule(start_round=3), [3, 4, 5, 6, 7]),
    (attack_schedule.AttackSchedule(start_round=2, stop_round=5), [2, 3, 4]),
    (attack_schedule.AttackSchedule(start_round=1, every=3), [1, 4, 7]),
    (attack_schedule.AttackSchedule(start_round=1, stop_round=7, every=3), [1, 4]),
  ],
)
def test_attack_is_on_in_the_same_rounds_for_integers_and_tensors(schedule, expected):
  assert [r for r in range(8) if schedule.is_active(r)] == expected
  on_tensor = tf.function(schedule.is_active, autograph=False)
  assert [r for r in range(8) if bool(on_tensor(tf.constant(r, tf.int64)))] == expected
