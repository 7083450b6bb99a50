"""The composition of a learning process whose aggregation is given the model.

`tff.learning.templates.compose_learning_process` hands the model to the distributor and to
the finalizer, not to the aggregator, but a rule that looks at a root set asks what the
round's model makes of it. State, metrics and everything else are those of TFF's
composition, so a process composed here is trained, saved and evaluated like any other.
"""

import collections
from typing import Any

import tensorflow_federated as tff


def compose(
  initial_weights: tff.Computation,
  distributor: tff.learning.templates.DistributionProcess,
  client_work: tff.learning.templates.ClientWorkProcess,
  aggregator: tff.templates.AggregationProcess,
  finalizer: tff.learning.templates.FinalizerProcess,
) -> tff.learning.templates.LearningProcess:
  """Composes processes as TFF does, and hands the model to the aggregator as well.

  Args:
    initial_weights: `( -> ModelWeights)`.
    distributor: Brings the model to the clients.
    client_work: What clients do with it.
    aggregator: A process whose `next` takes its state, the updates and weights at clients,
      and the `ModelWeights` that enter the round at the server.
    finalizer: Brings the aggregate into the model.
  """
  _, _, values_type = client_work.next.type_signature.parameter

  @tff.federated_computation
  def initialize() -> Any:
    return tff.federated_zip(
      tff.learning.templates.LearningAlgorithmState(
        tff.federated_eval(initial_weights, tff.SERVER),
        distributor.initialize(),
        client_work.initialize(),
        aggregator.initialize(),
        finalizer.initialize(),
      )
    )

  @tff.federated_computation(initialize.type_signature.result, values_type)
  def next_fn(state: Any, client_data: Any) -> Any:
    model = state.global_model_weights
    sent = distributor.next(state.distributor, model)
    work = client_work.next(state.client_work, sent.result, client_data)
    update, weight = work.result.update, work.result.update_weight
    combined = aggregator.next(state.aggregator, update, weight, model)
    finished = finalizer.next(state.finalizer, model, combined.result)
    following = tff.learning.templates.LearningAlgorithmState(
      finished.result, sent.state, work.state, combined.state, finished.state
    )
    metrics = collections.OrderedDict(
      distributor=sent.measurements,
      client_work=work.measurements,
      aggregator=combined.measurements,
      finalizer=finished.measurements,
    )
    return tff.learning.templates.LearningProcessOutput(
      tff.federated_zip(following), tff.federated_zip(metrics)
    )

  state_type = initialize.type_signature.result.member

  @tff.tensorflow.computation(state_type)
  def get_model_weights(state: Any) -> Any:
    return state.global_model_weights

  @tff.tensorflow.computation(state_type, state_type.global_model_weights)
  def set_model_weights(state: Any, model_weights: Any) -> Any:
    return state._replace(global_model_weights=model_weights)

  @tff.tensorflow.computation(state_type)
  def get_hparams(state: Any) -> Any:
    return collections.OrderedDict(
      client_work=client_work.get_hparams(state.client_work),
      finalizer=finalizer.get_hparams(state.finalizer),
    )

  @tff.tensorflow.computation(state_type, get_hparams.type_signature.result)
  def set_hparams(state: Any, hparams: Any) -> Any:
    return state._replace(
      client_work=client_work.set_hparams(state.client_work, hparams['client_work']),
      finalizer=finalizer.set_hparams(state.finalizer, hparams['finalizer']),
    )

  return tff.learning.templates.LearningProcess(
    initialize,
    next_fn,
    get_model_weights,
    set_model_weights,
    get_hparams_fn=get_hparams,
    set_hparams_fn=set_hparams,
  )
