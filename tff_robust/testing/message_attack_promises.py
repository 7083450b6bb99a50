"""Promises of every attack by messages; `attack_contract` lists them."""

import numpy as np
import tensorflow as tf

from tff_robust.attacks import knowledge
from tff_robust.testing import attack_trial, state_form

Trial = attack_trial.AttackTrial

_D = attack_trial.DIMENSION
_HONEST, _BYZANTINE, _ROUNDS = 16, 9, 6


def _rows(count: int, seed: int = 0) -> np.ndarray:
  return (np.random.default_rng(seed).normal(size=(count, _D)) + 0.5).astype(np.float32)


def _demand(kept: bool, trial: Trial, sentence: str, *, view: str = '') -> None:
  if not kept:
    seen = f' that sees {view}' if view else ''
    raise AssertionError(f'attack {trial.name!r}{seen}: {sentence}')


def answers_in_form(trial: Trial) -> None:
  """Each attacker sends float32 [d] in any cohort, and the state keeps its form."""
  for view in trial.views:
    state = trial.initial_state()
    for round_index, (honest, own) in enumerate([(11, 5), (9, 1), (10, 0), (1, 3), (0, 2)]):
      following, sent = trial.send(state, _rows(honest), _rows(own, 1), round_index, view=view)
      _demand(
        sent.shape == (own, _D) and sent.dtype == tf.float32,
        trial,
        f'{own} attackers send {sent.dtype.name} {sent.shape}, not float32 [{own}, {_D}].',
        view=view,
      )
      _demand(
        state_form.is_kept(state, following),
        trial,
        'its state changes structure, shape or dtype from one round to the next.',
        view=view,
      )
      state = following
  _demand(trial.num_traces == 1, trial, 'it is traced anew for other row counts.')


def sends_nothing_without_attackers(trial: Trial) -> None:
  """With b = 0 there is no row, so that every rule sees the honest rows alone."""
  honest = _rows(11)
  for view in trial.views:
    _, sent = trial.send(trial.initial_state(), honest, _rows(0), view=view)
    everything = np.concatenate([honest, sent.numpy()])
    _demand(
      everything.tobytes() == honest.tobytes(),
      trial,
      f'nobody is Byzantine, yet it sends {sent}.',
      view=view,
    )


def sends_finite_rows_although_it_sees_others(trial: Trial) -> None:
  """A NaN or an infinity in what it sees is not passed on."""
  clean, own = _rows(11), _rows(3, 1)
  bad = np.full((2, _D), np.nan, np.float32)
  bad[1] = 1.0
  bad[1, 2] = np.inf
  cases = (
    (np.concatenate([clean[:4], bad[:1], clean[4:], bad[1:]]), own),
    (np.concatenate([bad, bad]), np.full_like(own, np.nan)),
    (clean, np.concatenate([own[:1], bad, own[1:]])),
  )
  for view in trial.views:
    for honest, honestly in cases:
      _, sent = trial.send(trial.initial_state(), honest, honestly, view=view)
      _demand(
        bool(np.isfinite(sent).all()),
        trial,
        'it sends NaN or infinity after seeing some; use `attack.finite_rows`.',
        view=view,
      )


def does_not_overflow(trial: Trial) -> None:
  """Near the largest float32 its rows saturate."""
  huge = np.where(_rows(11) > 0.5, np.float32(3e38), np.float32(-3e38)).astype(np.float32)
  for view in trial.views:
    _, sent = trial.send(trial.initial_state(), huge, huge[:3], view=view)
    _demand(
      bool(np.isfinite(sent).all()),
      trial,
      'it overflows on rows of 3e38; answer with `attack.as_updates`.',
      view=view,
    )


def repeats_itself(trial: Trial) -> None:
  """The same state, view and seed give the same rows, bit for bit."""
  for view in trial.views:
    first, second = (
      trial.send(trial.initial_state(), _rows(11), _rows(3, 1), 4, view=view)[1].numpy()
      for _ in range(2)
    )
    _demand(
      first.tobytes() == second.tobytes(),
      trial,
      'two answers with one seed differ; draw only from the seed.',
      view=view,
    )


def names_its_views(trial: Trial) -> None:
  """It knows its name and the views that its row of the registry allows."""
  _demand(trial.built.name == trial.name, trial, f'it calls itself {trial.built.name!r}.')
  allowed, modes = trial.entry.knowledge, trial.built.knowledge_modes
  _demand(
    bool(allowed) and set(allowed) <= set(modes) <= set(knowledge.ALL),
    trial,
    f'its row of the registry allows the views {allowed}, and it makes sense with {modes}.',
  )


def harms_the_mean(trial: Trial) -> None:
  """The mean of all rows is further from the honest mean than if nobody had lied.

  9 of 25 clients are Byzantine, honest rows scatter around a mean of the length of their
  noise which turns from round to round, and distances are averaged over some rounds and
  stacks. A mean that is no number is infinitely far.
  """
  for view in trial.views:
    lied, honestly = _distances(trial, view)
    _demand(
      lied > 1.05 * honestly,
      trial,
      f'it moves the mean {lied / honestly:.2f} times as far from the honest mean as honest clients'
      ' would; it must be more than 1.05.',
      view=view,
    )


def _distances(trial: Trial, view: str) -> tuple[float, float]:
  """Returns how far the mean is from the honest one, summed, with the attack and without it."""
  lied, honestly = 0.0, 0.0
  for seed in range(3):
    rng = np.random.default_rng(seed)
    state = trial.initial_state()
    for round_index in range(_ROUNDS):
      centre = 3.0 * np.roll(np.eye(_D)[0], round_index) + 0.5
      rows = (centre + rng.normal(size=(_HONEST + _BYZANTINE, _D))).astype(np.float32)
      honest, own = rows[:_HONEST], rows[_HONEST:]
      state, sent = trial.send(state, honest, own, round_index, view=view)
      target = honest.mean(axis=0, dtype=np.float64)
      with np.errstate(invalid='ignore'):
        mean = np.concatenate([honest, sent.numpy()]).mean(axis=0, dtype=np.float64)
      distance = float(np.linalg.norm(mean - target))
      lied += distance if np.isfinite(distance) else np.inf
      honestly += float(np.linalg.norm(rows.mean(axis=0, dtype=np.float64) - target))
  return lied, honestly
