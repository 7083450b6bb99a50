"""One run from its configuration to its report. Imports TensorFlow when it has to."""

import dataclasses
import os
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

from binaries import command_line, privacy_report, run_flags
from tff_robust import config
from tff_robust.attacks import attack_schedule
from tff_robust.data import load
from tff_robust.program import cohorts, guarantees, interruption, run_folder, schedule, summary
from tff_robust.runtime import contexts, devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """A run of which everything is checked and built.

  Attributes:
    experiment: Everything that determines the result.
    options: Everything else that was decided.
    folder: The folder of the run.
    plan: Lengths of the run in rounds.
    sampler: Who takes part when.
    data: Who holds what.
    loop: The training loop.
    guarantees: What the rule promises.
    runtime: One line that says where the run runs.
    source: Where the images come from and how they were split.
    honest_messages: What honest messages can be, in words, where they are held against it.
    residents: Arrays of examples on the device, which `close` frees.
  """

  experiment: config.ExperimentConfig
  options: run_flags.RunOptions
  folder: pathlib.Path
  plan: schedule.Schedule
  sampler: cohorts.CohortSampler
  data: Any
  loop: Any
  guarantees: guarantees.Guarantees
  runtime: str
  source: str
  honest_messages: str | None = None
  residents: tuple[Any, ...] = ()

  def close(self) -> None:
    """Frees the examples on the device; the experiment cannot be run any more."""
    for array in self.residents:
      array.release()

  def run(self) -> tuple[summary.Summary, int]:
    """Trains, and writes summary and picture; returns the summary and an exit status.

    The status is 0 for completed and for diverged runs, 130 or 143 for a run that a signal
    interrupted.
    """
    from tff_robust.program import history, plots, progress, releases

    rounds, state = self.loop.start(tell=lambda sentence: print(sentence, file=sys.stderr))
    history_file = self.folder / history.FILE_NAME
    repeated = history.keep_before(history_file, rounds)
    if self.options.resume:
      # One more may have begun.
      self._note_resumption(rounds, repeated + (rounds < self.plan.num_rounds))
    release = releases.open_releases(self.folder)
    with interruption.Interruption() as stop:
      shown = progress.Progress(
        self.plan.num_rounds, first_round=rounds, show_bar=self.options.progress
      )
      try:
        outcome = self.loop.run(rounds, state, release=release, shown=shown, stop=stop)
      finally:
        shown.close()
    rows = history.read(history_file)
    found = summary.summarize(
      rows,
      status=outcome.status,
      rounds=outcome.rounds,
      plan=self.plan,
      guarantees=self.guarantees,
      privacy=privacy_report.statement(
        self.experiment,
        self.sampler,
        self.data.clients.client_sizes.tolist(),
        outcome.rounds,
        num_repeated_rounds=run_folder.num_repeated_rounds(self.folder),
      ),
      folder=self.folder,
    )
    summary.write(found)
    plots.draw(
      rows,
      self.folder,
      title=_title(self.experiment),
      num_classes=self.data.num_classes,
      attack=self._drawn_attack(),
      byzantine_clients=self.sampler.byzantine_clients().tolist(),
      attack_epsilon=self._attack_epsilon(),
    )
    interrupted = outcome.status == 'interrupted'
    return found, stop.exit_status if interrupted else 0

  def _note_resumption(self, first_round: int, repeated_rounds: int) -> None:
    different = run_folder.note_resumption(
      self.folder,
      first_round=first_round,
      repeated_rounds=repeated_rounds,
      runtime=self.runtime,
      source=self.source,
    )
    if different:
      print(
        'The run goes on under other conditions, and may not equal one without an interruption: '
        + '; '.join(different),
        file=sys.stderr,
      )

  def _drawn_attack(self) -> attack_schedule.AttackSchedule | None:
    """Returns the schedule of the attack without an end that the run does not reach."""
    attack = self.plan.attack
    return attack and attack._replace(stop_round=self.plan.attack_stop_round)

  def _attack_epsilon(self) -> float | None:
    given = self.experiment.attack.options.get('attack_epsilon')
    return None if given is None else float(given)

  def run_and_report(self) -> int:
    """Runs, prints the summary, and returns the exit status of the binary."""
    from tff_robust.program import plots
    from tff_robust.runtime import errors

    print(
      f'{_title(self.experiment)}\n{self.source}\n{self.runtime}\nfolder {self.folder}',
      file=sys.stderr,
    )
    if self.honest_messages is not None:
      print(f'Honest messages: {self.honest_messages}', file=sys.stderr)
    if self.guarantees.risk_per_round:
      told = self.guarantees.max_byzantine
      print(
        f'Cohorts with more than {told} Byzantine clients: {self.guarantees.risk()}',
        file=sys.stderr,
      )
    shortage = guarantees.describe_shortage(self.experiment)
    if shortage is not None:
      print(shortage, file=sys.stderr)
    resume = self.options.resume_flags(self.folder)
    try:
      found, exit_status = self.run()
    except KeyboardInterrupt as interrupt:
      print(f'\nInterrupted at once; to go on from the last checkpoint: {resume}', file=sys.stderr)
      return interruption.Interruption.status_at_once(interrupt)
    except run_folder.UnreadableError as error:
      print(error, file=sys.stderr)
      return command_line.BAD_INPUT
    except errors.WorkerGoneError as error:
      print(f'\n{error}\nTo go on from the last whole round: {resume}', file=sys.stderr)
      return 1
    finally:
      contexts.close_context()
      self.close()
    print(f'{found.table()}\n\nPicture: {self.folder / plots.FILE_NAME}', flush=True)
    if exit_status:
      print(f'Interrupted after a whole round; to go on: {resume}', file=sys.stderr)
    return exit_status


def _title(experiment: config.ExperimentConfig) -> str:
  training, attack = experiment.training, experiment.attack
  aggregation = experiment.aggregation
  rule = ' then '.join([*aggregation.preaggregators, aggregation.aggregator])
  rule += _options({**aggregation.options, 'root_size': experiment.data.root_size})
  parts = [
    f'{experiment.data.dataset}, {training.model}, {training.algorithm}, {rule},'
    f' {training.clients_per_round} of {experiment.data.num_clients} clients a round'
  ]
  if training.worker_momentum:
    parts.append(f'worker momentum {training.worker_momentum:g}')
  if attack.attack != config.NO_ATTACK:
    where = 'each cohort' if attack.placement == 'cohort' else 'the population'
    parts.append(f'{attack.attack}{_options(attack.options)} by {attack.num_byzantine} of {where}')
  privacy = experiment.privacy
  if privacy.enabled:
    parts.append(f'clip {privacy.l2_norm_clip:g}, noise multiplier {privacy.noise_multiplier:g}')
  return '\n'.join(parts)


def _options(options: Any) -> str:
  text = ', '.join(f'{name}={value}' for name, value in options.items() if value is not None)
  return f' ({text})' if text else ''


def before_tensorflow() -> None:
  """Chooses how TensorFlow computes, and keeps its chatter from the user's terminal."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
  warnings.filterwarnings('ignore', message='Deprecated call to `pkg_resources')
  devices.prepare()


def prepare(experiment: config.ExperimentConfig, options: run_flags.RunOptions) -> Experiment:
  """Loads the data, builds the process and makes or opens the folder of the run.

  Args:
    experiment: Everything that determines the result.
    options: Everything else. With `resume`, the folder must hold a run of exactly this
      experiment.

  Raises:
    ValueError: When something does not fit: with the data, the folder or each other.
  """
  before_tensorflow()  # TensorFlow Datasets imports it.
  sampler = cohorts.build_sampler(experiment)
  guarantees.check_cohort_risk(experiment)
  if options.resume and options.output_dir is not None:
    if not run_folder.load(options.output_dir)[0].is_same_run(experiment):
      raise ValueError(
        f'output_dir={options.output_dir} holds a run with another configuration; resume with'
        ' the same one, or give another --output_dir.'
      )
  elif options.output_dir is not None:
    run_folder.check_unused(options.output_dir)
  dataset = load.load_dataset(experiment.data.dataset, data_dir=experiment.data.data_dir)
  runtime = contexts.install_context(options.runtime, **options.runtime_options())
  if experiment.privacy.enabled:
    devices.forbid_fewer_digits()

  from binaries import attacked_data, federated_data
  from computations import client_values, learning_process, models, root_set
  from tff_robust.program import certificates, checkpoints, training_loop
  from tff_robust.runtime import resident

  data = federated_data.deal(dataset, experiment.data, seed=experiment.seed)
  plan = schedule.build_schedule(experiment, data.clients.client_sizes.tolist())
  model = models.build_model(
    experiment.training.model,
    input_shape=data.clients.input_shape,
    num_classes=data.num_classes,
    seed=experiment.seed,
    input_mean=data.channel_mean,
    input_std=data.channel_std,
  )
  holders = attacked_data.build_holders(experiment, data, sampler)
  source, residents = None, []
  if options.runtime == 'accelerated':
    # In this process the examples can stay on the device; a round then moves indices only.
    residents = [resident.ResidentArray(array) for array in holders.honest.all_arrays]
    x, y = residents
    source = client_values.IndexSource(x, y)
  process = learning_process.build_learning_process(
    experiment,
    model=model,
    schedule=plan.attack,
    source=source,
    root=data.root and root_set.RootSet(*data.root),
    client_sizes=data.clients.client_sizes.tolist(),
  )
  honest_messages = None
  if experiment.aggregation.needs_noise_limits:
    honest_messages = learning_process.build_noise_limits(
      experiment,
      dimension=models.num_parameters(model),
      client_sizes=data.clients.client_sizes.tolist(),
    ).describe()
  folder = options.output_dir or run_folder.default_folder(experiment)
  if not options.resume:
    run_folder.create(
      folder,
      experiment,
      running=options.shared(),
      options=options.to_json(),
      runtime=runtime,
      source=dataset.source,
    )
  loop = training_loop.TrainingLoop(
    process=process,
    plan=plan,
    cohort_of=sampler.cohort,
    client_value=holders.value_of(by_index=source is not None),
    evaluate=_evaluate(model, data, attacked_data.triggered_test(experiment, data)),
    saved=checkpoints.Checkpoints(folder / 'checkpoints'),
    evaluate_every=options.rounds_between_evaluations(plan.num_rounds),
    checkpoint_every=options.checkpoint_every,
    certificate=certificates.build_certificate(experiment),
  )
  return Experiment(
    experiment=experiment,
    options=options,
    folder=folder,
    plan=plan,
    sampler=sampler,
    data=data,
    loop=loop,
    guarantees=guarantees.build_guarantees(experiment, num_rounds=plan.num_rounds),
    runtime=runtime,
    source=dataset.source,
    honest_messages=honest_messages,
    residents=tuple(residents),
  )


def _evaluate(model: Any, data: Any, triggered: Any) -> Callable[[Any], dict[str, float]]:
  """Returns a function from weights to the evaluation columns of a history row."""
  import tensorflow as tf

  from computations import evaluation

  evaluate = evaluation.build_evaluate(model)
  parts = {'validation': data.validation, 'test': data.test}
  splits = {name: [tf.constant(part) for part in split] for name, split in parts.items()}
  stamped = None if triggered is None else [tf.constant(part) for part in triggered]

  def evaluate_splits(weights: Any) -> dict[str, float]:
    cells = {}
    for name, (x, y) in splits.items():
      found = evaluate(weights, x, y)
      cells[f'{name}_accuracy'] = found['accuracy']
      cells[f'{name}_loss'] = found['loss']
    if stamped is not None:
      cells['attack_success_rate'] = evaluate(weights, *stamped)['accuracy']
    return cells

  return evaluate_splits
