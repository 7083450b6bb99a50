"""Oracles of the rules that look at a root set at the server."""

from collections.abc import Sequence

import numpy as np

from tff_robust.testing import trial_root


def fltrust_with_trusts(rows: np.ndarray, root_update: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns FLTrust's aggregate [d] and the trusts [n], one client at a time."""
  root = np.asarray(root_update, np.float64)
  total = np.zeros(len(root))
  trusts: list[float] = []
  for row in np.asarray(rows, np.float64):
    trust = 0.0
    if np.isfinite(row).all() and row.any() and root.any() and np.isfinite(root).all():
      scale = np.linalg.norm(root) / np.linalg.norm(row)
      cosine = float(row @ root) / float(np.linalg.norm(row)) / float(np.linalg.norm(root))
      trust = max(0.0, cosine)
      total += trust * scale * row
    trusts.append(trust)
  return (total / sum(trusts) if sum(trusts) else total), np.array(trusts)


def fltrust(rows: np.ndarray, *, root: trial_root.TrialRoot) -> np.ndarray:
  """Returns FLTrust's aggregate on a root set."""
  return fltrust_with_trusts(rows, root.update)[0]


def zeno_with_selection(
  rows: np.ndarray, decreases: Sequence[float], max_byzantine: int, norm_penalty: float
) -> tuple[np.ndarray, list[int]]:
  """Returns Zeno's aggregate [d] and the rows in it, found by sorting a Python list."""
  rows = np.asarray(rows, np.float64)
  scores = []
  for row, decrease in zip(rows, decreases, strict=True):
    score = float(decrease) - norm_penalty * float(row @ row)
    scores.append(score if np.isfinite(row).all() and np.isfinite(score) else -np.inf)
  ranked = sorted(range(len(rows)), key=lambda index: (-scores[index], index))
  best = sorted(ranked[: len(rows) - max_byzantine])
  return rows[best].mean(axis=0), best


def zeno(
  rows: np.ndarray,
  *,
  root: trial_root.TrialRoot,
  max_byzantine: int,
  trial_learning_rate: float | None,
  norm_penalty: float | None,
) -> np.ndarray:
  """Returns Zeno's aggregate on a root set, at a server whose learning rate is 1."""
  rate = 1.0 if trial_learning_rate is None else trial_learning_rate
  penalty = rate / 200 if norm_penalty is None else norm_penalty
  before = root.loss_after(np.zeros(rows.shape[1]))
  decreases = [before - root.loss_after(rate * row) for row in np.asarray(rows, np.float64)]
  return zeno_with_selection(rows, decreases, max_byzantine, penalty)[0]
