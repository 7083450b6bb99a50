"""The examples of the documents, executed as they are printed, and their links."""

import contextlib
import functools
import io
import pathlib
import re

import pytest
import tensorflow_federated as tff

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / 'README.md'
DOCUMENTS = [README, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
EXECUTED = [README, *(ROOT / 'docs' / name for name in ('certificates.md', 'privacy.md'))]


def names(documents):
  return [path.name for path in documents]


def blocks(document):
  """Returns each block of Python with what it prints, as the document says.

  That is the block without a language that follows at once, or else the comment beside each
  print, up to a colon.
  """
  text = document.read_text(encoding='utf-8')
  found = re.findall(r'```python\n(.*?)```(?:\n+```\n(.*?)```)?', text, re.DOTALL)
  return [(code, printed or comments_of(code)) for code, printed in found]


def comments_of(code):
  comments = re.findall(r'^print\(.*\)  # (.+)$', code, re.MULTILINE)
  return ''.join(f'{comment.partition(": ")[0]}\n' for comment in comments)


@functools.cache
def carried_out(document):
  """Returns the variables of all blocks, which share them, and (said, printed) of each."""
  scope, outcomes = {}, []
  for code, said in blocks(document):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      exec(compile(code, str(document), 'exec'), scope)  # The documents are ours.
    outcomes.append((said, printed.getvalue()))
  return scope, outcomes


@pytest.mark.parametrize('document', EXECUTED, ids=names(EXECUTED))
def test_every_block_of_a_document_prints_what_the_document_says(document):
  _, outcomes = carried_out(document)
  assert outcomes
  for said, printed in outcomes:
    assert printed == said
    assert said, 'a block that prints nothing is held to nothing'


def test_krum_drops_into_federated_averaging_as_the_readme_says():
  scope, _ = carried_out(README)
  assert isinstance(scope['process'], tff.learning.templates.LearningProcess)
  measured = scope['output'].metrics['aggregator']
  assert measured['selected'].sum() == 1
  assert measured['num_nonfinite'] == 0


def test_the_readme_composes_mixing_before_the_geometric_median_it_names():
  scope, _ = carried_out(README)
  assert scope['rule'].name == 'nearest_neighbor_mixing+geometric_median'


@pytest.mark.parametrize('document', DOCUMENTS, ids=names(DOCUMENTS))
def test_every_file_that_a_document_links_exists(document):
  targets = re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', document.read_text(encoding='utf-8'))
  local = [target for target in targets if not target.startswith('http')]
  assert [target for target in local if not (document.parent / target).exists()] == []
