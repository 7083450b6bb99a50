"""The folder of a run: what was decided, and on what it ran. Free of TensorFlow."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from tff_robust import config

CONFIG_FILE = 'config.json'
_PACKAGES = (
  'tensorflow',
  'tensorflow-federated',
  'tensorflow-privacy',
  'dp-accounting',
  'numpy',
)
# Environment variables that change the arithmetic of TensorFlow.
_VARIABLES = ('TF_ENABLE_ONEDNN_OPTS', 'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS')


class UnreadableError(ValueError):
  """What is kept of a run is nothing that it could go on from; in one sentence, for its user."""


def default_folder(experiment: config.ExperimentConfig) -> pathlib.Path:
  """Returns a folder under `runs/` that does not exist, named by the time, rule and attack."""
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  name = f'{now}-{experiment.aggregation.aggregator}-{experiment.attack.attack}'
  folder, suffix = pathlib.Path('runs', name), 1
  while folder.exists():
    suffix += 1
    folder = pathlib.Path('runs', f'{name}-{suffix}')
  return folder


def check_is_no_file(folder: pathlib.Path) -> None:
  """Raises ValueError when a file stands where the folder, or one around it, is to be."""
  for place in (folder, *folder.parents):
    if place.is_file():
      raise ValueError(f'output_dir={folder}: {place} is a file; give another folder.')


@contextlib.contextmanager
def _told(folder: pathlib.Path) -> Iterator[None]:
  """Turns what the file system says of a folder into a ValueError that names the flag."""
  try:
    yield
  except OSError as error:
    raise ValueError(
      f'output_dir={folder} cannot be written: {error.strerror or error}; give another folder.'
    ) from error


def check_can_be_written(folder: str | os.PathLike[str]) -> None:
  """Raises ValueError when nothing could be written into a folder, which need not exist yet."""
  folder = pathlib.Path(folder)
  with _told(folder):
    check_is_no_file(folder)
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
  if not os.access(nearest, os.W_OK):
    raise ValueError(
      f'output_dir={folder} cannot be written: no permission for {nearest}; give another folder.'
    )


def check_unused(folder: str | os.PathLike[str]) -> None:
  """Raises ValueError when a new run could not write into a folder, or it holds something."""
  folder = pathlib.Path(folder)
  with _told(folder):
    holds_run = (folder / CONFIG_FILE).exists()
    holds_anything = folder.is_dir() and any(folder.iterdir())
  if holds_run:
    raise ValueError(
      f'output_dir={folder} holds a run already; pass --resume to go on with that run, or another'
      ' --output_dir.'
    )
  if holds_anything:
    raise ValueError(
      f'output_dir={folder} is not empty and holds no run; give an empty or a new --output_dir.'
    )
  check_can_be_written(folder)


def load(folder: str | os.PathLike[str]) -> tuple[config.ExperimentConfig, Mapping[str, Any]]:
  """Returns the configuration of the run in a folder, and its options of running.

  Raises:
    ValueError: When the folder holds no run, or one of another version of the package.
  """
  path = pathlib.Path(folder, CONFIG_FILE)
  if not path.is_file():
    raise ValueError(f'output_dir={folder} holds no run to resume; leave out --resume.')
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
    return config.ExperimentConfig.from_json(content['experiment']), content['running']
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'{path} does not hold a configuration of this version of tff_robust ({error}); start the'
      ' run anew in another --output_dir, or name its plug-ins again with --plugins.'
    ) from error


def create(
  folder: str | os.PathLike[str],
  experiment: config.ExperimentConfig,
  *,
  running: Mapping[str, Any],
  options: Mapping[str, Any],
  runtime: str,
  source: str,
) -> None:
  """Makes the folder of a new run and writes its `config.json`.

  Args:
    folder: Where to; must hold nothing.
    experiment: Everything that determines the result.
    running: Options of running that a resumption has to share, as plain values.
    options: All options of running, as plain values, for the record.
    runtime: One line that says where the run runs.
    source: Where the images come from and how they were split.

  Raises:
    ValueError: When the folder holds something or cannot be written.
  """
  check_unused(folder)
  folder = pathlib.Path(folder)
  content = {
    'experiment': experiment.to_json(),
    'running': dict(running),
    'options': dict(options),
    **_conditions(runtime, source),
  }
  with _told(folder):
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, content)


def note_resumption(
  folder: str | os.PathLike[str],
  *,
  first_round: int,
  repeated_rounds: int,
  runtime: str,
  source: str,
) -> tuple[str, ...]:
  """Adds to the `config.json` of a run that it goes on, and on what.

  Args:
    folder: Of the run.
    first_round: The round that is next.
    repeated_rounds: Rounds that may have been done before, and are done again.
    runtime: One line that says where the run runs now.
    source: Where the images come from now.

  Returns:
    What differs from the rounds before, each as 'name: now (before: before)'.
  """
  folder = pathlib.Path(folder)
  content = json.loads((folder / CONFIG_FILE).read_text(encoding='utf-8'))
  resumptions = content.setdefault('resumptions', [])
  before, now = (resumptions or [content])[-1], _conditions(runtime, source)
  resumptions.append({'first_round': first_round, 'repeated_rounds': repeated_rounds, **now})
  with _told(folder):
    _write(folder, content)
  old, new = _flat(before), _flat(now)
  return tuple(
    f'{name}: {new[name]} (before: {old.get(name)})'
    for name in new
    if name != 'git_revision' and new[name] != old.get(name)
  )


def num_repeated_rounds(folder: str | os.PathLike[str]) -> int:
  """Returns how many rounds of a run may have been done twice, over all its resumptions."""
  content = json.loads(pathlib.Path(folder, CONFIG_FILE).read_text(encoding='utf-8'))
  return sum(resumption['repeated_rounds'] for resumption in content.get('resumptions', ()))


def _conditions(runtime: str, source: str) -> dict[str, Any]:
  """Returns what may change a result by rounding, or tells where it comes from."""
  return {
    'runtime': runtime,
    'source': source,
    'versions': _versions(),
    'environment': {name: os.environ.get(name) for name in _VARIABLES},
    'git_revision': _git_revision(),
  }


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
  names = ('runtime', 'source', 'git_revision')
  return {
    **{name: conditions[name] for name in names},
    **conditions['versions'],
    **conditions['environment'],
  }


def _write(folder: pathlib.Path, content: Mapping[str, Any]) -> None:
  partial = folder / f'{CONFIG_FILE}.partial'
  partial.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
  os.replace(partial, folder / CONFIG_FILE)


def _versions() -> dict[str, str]:
  versions = {'python': platform.python_version()}
  for package in _PACKAGES:
    versions[package] = importlib.metadata.version(package)
  return versions


def _git_revision() -> str | None:
  """Returns the revision of the checkout that holds this file, '+' added when it was changed."""
  here = pathlib.Path(__file__).parent

  def git(*arguments: str) -> str:
    return subprocess.run(
      ['git', '-C', str(here), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()

  try:
    # Not the revision of a repository that merely has the installed package inside.
    if git('ls-files', '--error-unmatch', pathlib.Path(__file__).name):
      changed = git('status', '--porcelain', '--untracked-files=no')
      return git('rev-parse', 'HEAD') + ('+' if changed else '')
  except (OSError, subprocess.CalledProcessError):
    return None
  return None
