import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / 'README.md'
DOCUMENTS = [README, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]


def blocks():
  return re.findall(r'```python\n(.*?)```', README.read_text(encoding='utf-8'), re.DOTALL)


def run(marker):
  (code,) = [block for block in blocks() if marker in block]
  scope = {}
  exec(compile(code, str(README), 'exec'), scope)  # The README is ours.
  return scope


def test_krum_drops_into_federated_averaging_as_the_readme_says():
  scope = run('krum_factory')
  measured = scope['output'].metrics['aggregator']
  assert measured['selected'].sum() == 1
  assert measured['num_nonfinite'] == 0


def test_epsilon_of_the_readme_is_the_one_it_states(capsys):
  run('dp_sgd_epsilon')
  assert capsys.readouterr().out == '3.01\n'


@pytest.mark.parametrize('document', DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_file_that_a_document_links_exists(document):
  targets = re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', document.read_text(encoding='utf-8'))
  local = [target for target in targets if not target.startswith('http')]
  assert [target for target in local if not (document.parent / target).exists()] == []
