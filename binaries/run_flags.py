"""The flags of a run itself: where it runs and writes, and how often it looks up."""

import dataclasses
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from absl import flags

from binaries import plugin_flag, tls_flags
from tff_robust import checks
from tff_robust.program import run_folder
from tff_robust.runtime import contexts, secure_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
  """What is decided about a run beside what determines its result.

  Attributes:
    output_dir: The folder of the run; None makes one under `runs/`.
    resume: Whether to go on with the run in `output_dir`.
    runtime: One of `contexts.RUNTIMES`. Runtimes agree to rounding, not to the last bit.
    device: 'auto', 'cpu' or 'gpu:N'.
    client_threads: Clients that run at the same time; None chooses.
    workers: Addresses 'host:port' of the workers of `runtime='remote'`.
    tls: Certificates for workers that are not on this machine.
    worker_retry_seconds: How long a round waits for a worker that does not answer.
    evaluate_every: Rounds between evaluations; None for about a hundred in a run.
    checkpoint_every: Rounds between checkpoints.
    progress: Whether to draw a progress bar on a terminal.
    plugins: Modules that were loaded as plug-ins.
  """

  output_dir: pathlib.Path | None = None
  resume: bool = False
  runtime: str = 'accelerated'
  device: str = 'auto'
  client_threads: int | None = None
  workers: tuple[str, ...] = ()
  tls: secure_channels.TlsFiles | None = None
  worker_retry_seconds: float | None = None
  evaluate_every: int | None = None
  checkpoint_every: int = 10
  progress: bool = True
  plugins: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    contexts.check_runtime(self.runtime, **self.runtime_options())
    checks.at_least('checkpoint_every', self.checkpoint_every, 1)
    if self.evaluate_every is not None:
      checks.at_least('evaluate_every', self.evaluate_every, 1)
    if self.resume and self.output_dir is None:
      raise ValueError('--resume needs --output_dir, the folder of the run to go on with.')

  def runtime_options(self) -> dict[str, Any]:
    """Returns the options of `contexts.install_context`."""
    return {
      'device': self.device,
      'client_threads': self.client_threads,
      'workers': self.workers,
      'tls': self.tls,
      'worker_retry_seconds': self.worker_retry_seconds,
    }

  def shared(self) -> Mapping[str, Any]:
    """Returns what a resumed run must have in common with the run it goes on with."""
    return {'runtime': self.runtime, 'evaluate_every': self.evaluate_every}

  def to_json(self) -> dict[str, Any]:
    """Returns every option as a plain value, paths as text."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    values['output_dir'] = None if self.output_dir is None else str(self.output_dir)
    if self.tls is not None:
      values['tls'] = {name: str(path) for name, path in dataclasses.asdict(self.tls).items()}
    return values | {'workers': list(self.workers), 'plugins': list(self.plugins)}

  def resume_flags(self, folder: pathlib.Path) -> str:
    """Returns the flags that go on with the run in a folder."""
    parts = ['--resume', f'--output_dir={folder}']
    if self.plugins:
      parts.append(f'--plugins={",".join(self.plugins)}')
    if self.workers:
      parts.append(f'--workers={",".join(self.workers)}')
    # What may differ in a run that goes on, but was chosen, is chosen again.
    default = {field.name: field.default for field in dataclasses.fields(self)}
    for name in ('device', 'client_threads', 'worker_retry_seconds', 'checkpoint_every'):
      if getattr(self, name) != default[name]:
        parts.append(f'--{name}={getattr(self, name)}')
    if self.tls is not None:
      files = dataclasses.asdict(self.tls)
      parts += [f'--tls_{name}={path}' for name, path in files.items()]
    return shlex.join(parts)

  def rounds_between_evaluations(self, num_rounds: int) -> int:
    """Returns `evaluate_every`, chosen by the length of the run where it was left out."""
    return self.evaluate_every or max(1, num_rounds // 100)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines every flag of a run itself on `flag_values`."""
  default = {field.name: field.default for field in dataclasses.fields(RunOptions)}
  flags.DEFINE_string(
    'output_dir',
    None,
    'Folder of the run; left out, one named by the time is made under runs/.',
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    'resume',
    default['resume'],
    'Go on with the run in --output_dir from its last checkpoint; its other flags may be left out.',
    flag_values=flag_values,
  )
  flags.DEFINE_string(
    'runtime',
    default['runtime'],
    f'Where federated computations run. One of: {", ".join(contexts.RUNTIMES)}.',
    flag_values=flag_values,
  )
  flags.DEFINE_string(
    'device',
    default['device'],
    "Where TensorFlow computes: 'auto', 'cpu' or 'gpu:0'.",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    'client_threads',
    default['client_threads'],
    'Clients that run at the same time; left out, the processor cores, or 1 on a GPU.',
    flag_values=flag_values,
  )
  flags.DEFINE_list(
    'workers',
    [],
    'Addresses host:port of the workers of --runtime=remote, with commas between them.',
    flag_values=flag_values,
  )
  flags.DEFINE_float(
    'worker_retry_seconds',
    default['worker_retry_seconds'],
    'How long a round waits for a worker of --runtime=remote that does not answer; left out,'
    f' {secure_channels.DEFAULT_RETRY_SECONDS:g}.',
    flag_values=flag_values,
  )
  tls_flags.define_flags('run', flag_values)
  flags.adopt_module_key_flags(tls_flags, flag_values)
  flags.DEFINE_integer(
    'evaluate_every',
    default['evaluate_every'],
    'Rounds between evaluations; left out, about a hundred evaluations in a run.',
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    'checkpoint_every',
    default['checkpoint_every'],
    'Rounds between checkpoints.',
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    'progress',
    default['progress'],
    'Draw a progress bar when standard error is a terminal; otherwise lines are written.',
    flag_values=flag_values,
  )


def options_from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> RunOptions:
  """Returns the options that the flags describe.

  With --resume, what the run in the folder has fixed is taken from there.

  Raises:
    ValueError: When a value is not allowed, or differs from the run to resume.
  """
  fields = {field.name for field in dataclasses.fields(RunOptions)}
  values = {name: flag_values[name].value for name in fields - {'tls', 'plugins'}}
  values['workers'] = tuple(values['workers'])
  if values['output_dir'] is not None:
    values['output_dir'] = pathlib.Path(values['output_dir'])
    if values['resume']:
      values |= _stored_options(values['output_dir'], flag_values)
    else:
      run_folder.check_unused(values['output_dir'])
  return RunOptions(
    tls=tls_flags.tls_from_flags(flag_values), plugins=plugin_flag.loaded(), **values
  )


def _stored_options(folder: pathlib.Path, flag_values: flags.FlagValues) -> Mapping[str, Any]:
  """Returns what the run in a folder has fixed; flags that were given must agree."""
  _, stored = run_folder.load(folder)
  for name, value in stored.items():
    if flag_values[name].present and flag_values[name].value != value:
      raise ValueError(
        f'--{name}={flag_values[name].value} differs from the run to resume, which has'
        f' {name}={value}; leave it out.'
      )
  return stored
