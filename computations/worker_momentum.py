"""Worker momentum: every client sends a running average of its messages.

El Mahdi El Mhamdi, Rachid Guerraoui, Sebastien Rouault, "Distributed Momentum for
Byzantine-resilient Stochastic Gradient Descent", ICLR 2021
(https://openreview.net/forum?id=H8UHdhWG6A3). Sai Praneeth Karimireddy, Lie He, Martin Jaggi,
"Learning from History for Byzantine Robust Optimization", ICML 2021, algorithm 2
(https://proceedings.mlr.press/v139/karimireddy21a.html).

Independent noise averages out over rounds and the gradient does not: for gradients that
hardly move, the ratio of signal to noise of honest messages grows by (1 + beta) / (1 - beta),
and with it what every robust rule can tell apart.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import checks
from tff_robust.factories import gather


def build_worker_momentum(
  client_work: tff.learning.templates.ClientWorkProcess, *, num_clients: int, momentum: float
) -> tff.learning.templates.ClientWorkProcess:
  """Wraps client work so that clients send m_i <- beta * m_i + (1 - beta) * message.

  Every m_i starts at zero, as in the papers, so that a client's first messages are short: the
  first by 1 - beta, the t-th in which it takes part by 1 - beta^t. Only clients of the cohort
  update theirs. It is post-processing of what the work sends, DP noise included, and costs no
  privacy.

  A client of TFF keeps nothing between rounds. The momenta of the whole population therefore
  live in the server's state, where real clients would each keep their own; a client reads its
  row and nothing else, and nothing but its new row comes back. The table is broadcast as one
  value that all clients share.

  A message with a NaN or an infinity makes that round's momentum non-finite, which is sent as
  it is, for the rule to drop and to count. The client then keeps the momentum that it had
  before; the bare recursion would silence it for the rest of the run.

  Args:
    client_work: Work whose result is `<message=float32[d],client_id=int64,
      is_byzantine=bool>` with a weight; ids are below `num_clients`.
    num_clients: Clients in the population.
    momentum: beta, at least 0 and below 1; 0 sends what the work does.

  Returns:
    A client work process of the same data, result and measurement types, with state
    `<work,momenta=float32[num_clients,d]>@SERVER`.

  Raises:
    ValueError: If `momentum` or `num_clients` is out of range.
  """
  checks.in_half_open_unit_interval('worker_momentum', momentum)
  checks.at_least('num_clients', num_clients, 1)
  _, weights_type, values_type = client_work.next.type_signature.parameter
  sent_type = client_work.next.type_signature.result.result.member
  dimension = sent_type.update.message.shape[0]
  table_type = tff.TensorType(np.float32, [num_clients, dimension])
  collect = gather.build_gather(sent_type.update.message)

  @tff.tensorflow.computation
  def initial_momenta() -> Any:
    return tf.zeros([num_clients, dimension])

  @tff.tensorflow.computation(table_type, sent_type)
  @tf.function(autograph=False)
  def average(momenta: tf.Tensor, sent: Any) -> Any:
    message = sent.update
    known = tf.debugging.Assert(
      (message['client_id'] >= 0) & (message['client_id'] < num_clients),
      [f'client ids must be below num_clients={num_clients}, but there is', message['client_id']],
    )
    with tf.control_dependencies([known]):
      before = tf.gather(momenta, message['client_id'])
    update = collections.OrderedDict(
      message=momentum * before + (1 - momentum) * message['message'],
      client_id=message['client_id'],
      is_byzantine=message['is_byzantine'],
    )
    return tff.learning.templates.ClientResult(update, sent.update_weight)

  @tff.federated_computation(sent_type)
  def row_of(sent: Any) -> Any:
    return collections.OrderedDict(
      update=sent.update['message'],
      weight=sent.update_weight,
      client_id=sent.update['client_id'],
      is_byzantine=sent.update['is_byzantine'],
    )

  @tff.tensorflow.computation(table_type, collect.type_signature.result.member)
  @tf.function(autograph=False)
  def remember(momenta: tf.Tensor, gathered: Any) -> tf.Tensor:
    rows = gathered['updates']
    finite = tf.reduce_all(tf.math.is_finite(rows), axis=1)
    client_ids = tf.boolean_mask(gathered['client_ids'], finite)
    rows = tf.boolean_mask(rows, finite)
    return tf.tensor_scatter_nd_update(momenta, client_ids[:, tf.newaxis], rows)

  @tff.federated_computation
  def initialize() -> Any:
    return tff.federated_zip(
      collections.OrderedDict(
        work=client_work.initialize(), momenta=tff.federated_eval(initial_momenta, tff.SERVER)
      )
    )

  @tff.federated_computation(initialize.type_signature.result, weights_type, values_type)
  def next_fn(state: Any, weights: Any, values: Any) -> Any:
    work = client_work.next(state['work'], weights, values)
    momenta = tff.federated_broadcast(state['momenta'])
    result = tff.federated_map(average, (momenta, work.result))
    remembered = tff.federated_map(
      remember, (state['momenta'], collect(tff.federated_map(row_of, result)))
    )
    following = tff.federated_zip(collections.OrderedDict(work=work.state, momenta=remembered))
    return tff.templates.MeasuredProcessOutput(following, result, work.measurements)

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
