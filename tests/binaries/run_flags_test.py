import dataclasses
import json
import pathlib

from absl import flags

from binaries import plugin_flag, run_flags
from tff_robust.runtime import secure_channels


def options(tmp_path):
  paths = {}
  for name in ('authority', 'certificate', 'key'):
    paths[name] = tmp_path / f'{name}.pem'
    paths[name].write_text('PEM')
  return run_flags.RunOptions(
    output_dir=pathlib.Path('runs/one'),
    runtime='remote',
    workers=('localhost:8470', 'localhost:8471'),
    tls=secure_channels.TlsFiles(**paths),
    checkpoint_every=3,
    plugins=('mine', 'yours'),
  )


def test_every_option_is_written_as_a_plain_value(tmp_path):
  written = json.loads(json.dumps(options(tmp_path).to_json()))
  assert set(written) == {field.name for field in dataclasses.fields(run_flags.RunOptions)}
  assert written['output_dir'] == 'runs/one'
  assert written['workers'] == ['localhost:8470', 'localhost:8471']
  assert written['tls']['key'] == str(tmp_path / 'key.pem')
  assert written['checkpoint_every'] == 3
  assert written['plugins'] == ['mine', 'yours']
  assert run_flags.RunOptions().to_json()['tls'] is None


def test_the_flags_to_go_on_name_plug_ins(tmp_path):
  folder = pathlib.Path('runs/one')
  assert '--plugins=mine,yours' in options(tmp_path).resume_flags(folder).split()
  assert '--plugins' not in run_flags.RunOptions().resume_flags(folder)


def test_what_was_chosen_of_where_a_run_computes_is_advised_again(tmp_path):
  chosen = run_flags.RunOptions(device='cpu', client_threads=1, checkpoint_every=3)
  advice = chosen.resume_flags(tmp_path).split()
  assert {'--device=cpu', '--client_threads=1', '--checkpoint_every=3'} <= set(advice)
  plain = run_flags.RunOptions().resume_flags(tmp_path)
  assert plain == f'--resume --output_dir={tmp_path}'


def test_plug_ins_that_were_loaded_are_options_of_the_run(monkeypatch):
  monkeypatch.setattr(plugin_flag, '_loaded', ['mine'])
  flag_values = flags.FlagValues()
  run_flags.define_flags(flag_values)
  flag_values(['train'])
  assert run_flags.options_from_flags(flag_values).plugins == ('mine',)
