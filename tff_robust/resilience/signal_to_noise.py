"""The signal-to-noise ratio of a round: what decides which attacks succeed."""

from typing import Any

import numpy as np


def finite_rows(updates: Any) -> np.ndarray:
  """Returns the rows without NaN or infinity, float64 [at most n, d]."""
  rows = np.asarray(updates, np.float64)
  return rows[np.isfinite(rows).all(axis=1)]


def noise_energy(honest: Any) -> float:
  """Returns an unbiased estimate of tr Cov, the expected squared noise norm of a row.

  NaN with fewer than two finite rows.

  Args:
    honest: [h, d].
  """
  rows = finite_rows(honest)
  if len(rows) < 2:
    return float('nan')
  return float(((rows - rows.mean(axis=0)) ** 2).sum() / (len(rows) - 1))


def mean_to_noise_ratio(honest: Any) -> float:
  """Returns q, the squared norm of the honest mean divided by the noise energy.

  q overestimates R by 1/h: the mean holds noise too. NaN with fewer than two finite
  rows, infinity when they are all equal and not zero.
  """
  energy = noise_energy(honest)
  if np.isnan(energy):
    return energy
  center = finite_rows(honest).mean(axis=0)
  squared = float(center @ center)
  if energy == 0:
    return float('inf') if squared > 0 else float('nan')
  return squared / energy


def signal_to_noise_ratio(honest: Any) -> float:
  """Returns the estimate of R = |gradient|^2 / tr Cov, corrected for noise in the mean.

  q - 1/h: the numerator's estimate |mean|^2 - (noise energy)/h is unbiased. It is
  negative in about half of all rounds in which there is no signal at all; it is not
  clipped, so that averages over rounds stay meaningful.

  Args:
    honest: [h, d], honest updates of one round; rows that are not finite are left out.
  """
  return mean_to_noise_ratio(honest) - 1 / max(len(finite_rows(honest)), 1)


def mean_to_noise_ratio_from_gram(gram: Any) -> float:
  """Returns q from the honest Gram matrix, float64 [h, h]."""
  gram = np.asarray(gram, np.float64)
  finite = np.isfinite(np.diagonal(gram))
  gram = gram[np.ix_(finite, finite)]
  num_honest = len(gram)
  if num_honest < 2:
    return float('nan')
  squared = float(gram.mean())
  energy = float(np.trace(gram) - num_honest * squared) / (num_honest - 1)
  if energy <= 0:
    return float('inf') if squared > 0 else float('nan')
  return squared / energy


def cosine(first: Any, second: Any) -> float:
  """Returns the cosine of the angle between two vectors; NaN if one is zero."""
  first = np.asarray(first, np.float64)
  second = np.asarray(second, np.float64)
  norms = np.linalg.norm(first) * np.linalg.norm(second)
  return float(first @ second / norms) if norms > 0 else float('nan')


def alignment(aggregate: Any, honest: Any) -> float:
  """Returns <aggregate, honest mean> / |honest mean|^2.

  1 for the honest mean itself, negative when the step ascends the loss. NaN if the
  mean is zero or no row is finite.
  """
  rows = finite_rows(honest)
  if not len(rows):
    return float('nan')
  center = rows.mean(axis=0)
  squared = float(center @ center)
  return (
    float(np.asarray(aggregate, np.float64) @ center / squared) if squared > 0 else float('nan')
  )
