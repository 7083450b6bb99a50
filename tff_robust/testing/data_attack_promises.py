"""Promises of every attack by data; `attack_contract` lists them."""

import numpy as np

from tff_robust.testing import attack_trial

Trial = attack_trial.AttackTrial

_CLASSES, _SIDE = attack_trial.NUM_CLASSES, 5
_HONEST, _BYZANTINE, _EXAMPLES = 16, 9, 20


def _data(seed: int, count: int = _EXAMPLES) -> tuple[np.ndarray, np.ndarray]:
  """Returns uint8 [m, 5, 5, 1] images whose top rows are bright where their class says."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(_CLASSES, size=count).astype(np.int32)
  images = rng.integers(0, 60, size=(count, _SIDE, _SIDE, 1)).astype(np.uint8)
  images[np.arange(count), labels, 0, 0] += 150
  return images, labels


def _demand(kept: bool, trial: Trial, sentence: str) -> None:
  if not kept:
    raise AssertionError(f'attack {trial.name!r}: {sentence}')


def _transformed(trial: Trial, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  new_x, new_y = trial.built(x, y)
  return np.asarray(new_x), np.asarray(new_y)


def answers_in_form(trial: Trial) -> None:
  """Images and labels keep shape and dtype, labels are classes, and some example changes."""
  x, y = _data(0)
  new_x, new_y = _transformed(trial, x, y)
  _demand(
    (new_x.shape, new_x.dtype, new_y.shape, new_y.dtype) == (x.shape, x.dtype, y.shape, y.dtype),
    trial,
    'it changes the shape or dtype of images or labels.',
  )
  _demand(
    bool(((new_y >= 0) & (new_y < _CLASSES)).all()), trial, 'it makes labels that are no classes.'
  )
  _demand(
    bool((new_y != y).any() or (new_x != x).any()), trial, 'it leaves every example as it was.'
  )


def leaves_no_data_alone(trial: Trial) -> None:
  """A client without examples keeps none."""
  x, y = _data(0, 0)
  new_x, new_y = _transformed(trial, x, y)
  _demand(new_x.shape == x.shape and new_y.shape == y.shape, trial, 'it invents examples.')


def repeats_itself(trial: Trial) -> None:
  """The same examples are poisoned in the same way, bit for bit."""
  first, second = _transformed(trial, *_data(0)), _transformed(trial, *_data(0))
  _demand(
    all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True)),
    trial,
    'two answers for the same data differ.',
  )


def _gradient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Returns the gradient of softmax regression at zero weights, float64 [pixels * classes]."""
  flat = x.reshape(len(x), -1).astype(np.float64) / 255
  residuals = np.full([len(y), _CLASSES], 1 / _CLASSES)
  residuals[np.arange(len(y)), y] -= 1
  return np.ravel(flat.T @ residuals) / len(y)


def harms_the_mean(trial: Trial) -> None:
  """The mean gradient is further from the honest mean than if nobody had poisoned data.

  9 of 25 clients are Byzantine; the gradient is that of softmax regression.
  """
  clients = [_data(seed) for seed in range(_HONEST + _BYZANTINE)]
  honest = np.array([_gradient(x, y) for x, y in clients])
  poisoned = honest.copy()
  for client in range(_HONEST, _HONEST + _BYZANTINE):
    poisoned[client] = _gradient(*_transformed(trial, *clients[client]))
  target = honest[:_HONEST].mean(axis=0)
  lied = float(np.linalg.norm(poisoned.mean(axis=0) - target))
  honestly = float(np.linalg.norm(honest.mean(axis=0) - target))
  _demand(
    lied > 1.05 * honestly,
    trial,
    f'it moves the mean {lied / honestly:.2f} times as far from the honest mean as honest clients'
    ' would; it must be more than 1.05.',
  )
