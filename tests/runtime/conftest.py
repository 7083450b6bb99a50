"""The two contexts of one machine, for tests that both have to pass."""

import pytest


@pytest.fixture(scope='module')
def contexts():
  from tff_robust.runtime import accelerated, native

  with (
    native.native_context(num_threads=2) as native_context,
    accelerated.accelerated_context(client_threads=2) as accelerated_context,
  ):
    yield {'native': native_context, 'accelerated': accelerated_context}


@pytest.fixture(params=['native', 'accelerated'])
def context(request, contexts):
  import tensorflow_federated as tff

  with tff.framework.get_context_stack().install(contexts[request.param]) as context:
    yield context
