"""The attack-injecting wrapper: makes chosen clients of a cohort Byzantine.

Every client runs the honest work. The adversary, which controls all compromised clients
of the round together, is given the view that its knowledge allows, and each compromised
client then sends its row of the attack instead of its own message. The aggregation that
follows cannot tell who did.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import checks, seeds
from tff_robust.attacks import attack as attack_lib
from tff_robust.attacks import attack_schedule
from tff_robust.factories import gather


def build_byzantine_client_work(
  honest_work: tff.learning.templates.ClientWorkProcess,
  *,
  attack: attack_lib.Attack,
  knowledge: str,
  schedule: attack_schedule.AttackSchedule,
  seed: int,
  clean_work: tff.learning.templates.ClientWorkProcess | None = None,
  byzantine_dp_noise: bool = False,
) -> tff.learning.templates.ClientWorkProcess:
  """Wraps honest client work so that compromised clients send an attack.

  Args:
    honest_work: Work whose result is `<message=float32[d],client_id=int64,
      is_byzantine=bool>` with a weight. A compromised client keeps its honest weight.
    attack: The attack.
    knowledge: What the adversary sees before it answers, one of `attack.KNOWLEDGE`:
      'honest_messages' (what the honest clients of this round send), 'honest_clean' (the
      same before DP noise), 'own_messages' and 'own_clean' (only what the compromised
      clients themselves would have sent).
    schedule: In which rounds the attack is on. In all others every client is honest; an
      attack with a memory still watches.
    seed: The run's seed, from which the attack's draws are folded.
    clean_work: The same work without noise, on the same batches; needed for the two
      `*_clean` views and for `byzantine_dp_noise`, refused otherwise.
    byzantine_dp_noise: Whether a compromised client adds to its row the noise that its own
      honest message would have carried (its honest message minus its clean one), or none if
      these are not finite.

  Returns:
    A client work process of the same data, result and measurement types, with state
    `<honest,clean,adversary,round>@SERVER`.

  Raises:
    ValueError: If the attack makes no sense with `knowledge`, or `clean_work` is missing
      or superfluous.
  """
  checks.known_name('attack_knowledge', knowledge, attack_lib.KNOWLEDGE)
  if knowledge not in attack.knowledge_modes:
    raise ValueError(
      f'attack_knowledge={knowledge!r} makes no sense with attack {attack.name!r}, which allows:'
      f' {", ".join(attack.knowledge_modes)}.'
    )
  sees_clean = knowledge.endswith('_clean')
  if (clean_work is not None) != (sees_clean or byzantine_dp_noise):
    raise ValueError(
      'clean_work must be given exactly when attack_knowledge is a clean view or'
      f' byzantine_dp_noise is True, but attack_knowledge={knowledge!r} and'
      f' byzantine_dp_noise={byzantine_dp_noise}.'
    )
  _, weights_type, values_type = honest_work.next.type_signature.parameter
  sent_type = honest_work.next.type_signature.result.result.member
  message_type = sent_type.update
  dimension = message_type.message.shape[0]
  collect = gather.build_gather(message_type.message)
  gathered_type = collect.type_signature.result.member

  @tff.tensorflow.computation
  def initial_adversary() -> Any:
    return collections.OrderedDict(
      memory=attack.init(dimension),
      seed=tf.constant(seeds.tensor_seed(seed)),
      round=tf.constant(0, tf.int64),
    )

  adversary_type = initial_adversary.type_signature.result

  @tff.tensorflow.computation(adversary_type, gathered_type)
  @tf.function(autograph=False)
  def plan(adversary: Any, gathered: Any) -> Any:
    compromised = gathered['is_byzantine']
    own = tf.boolean_mask(gathered['updates'], compromised)
    seen = own
    if knowledge.startswith('honest_'):
      seen = tf.boolean_mask(gathered['updates'], tf.logical_not(compromised))
    view = attack_lib.View(seen, own, adversary['round'])
    draw = seeds.fold(adversary['seed'], seeds.Purpose.ATTACK, adversary['round'])
    memory, rows = attack.apply(adversary['memory'], view, draw)
    orders = collections.OrderedDict(
      active=tf.convert_to_tensor(schedule.is_active(adversary['round'])),
      client_ids=tf.boolean_mask(gathered['client_ids'], compromised),
      rows=tf.ensure_shape(rows, [None, dimension]),
    )
    following = collections.OrderedDict(
      memory=memory, seed=adversary['seed'], round=adversary['round'] + 1
    )
    return following, orders

  orders_type = plan.type_signature.result[1]

  def obey(orders: Any, sent: Any, noise: tf.Tensor) -> Any:
    message = sent.update

    def row() -> tf.Tensor:
      mine = tf.equal(orders['client_ids'], message['client_id'])
      return tf.gather(orders['rows'], tf.argmax(tf.cast(mine, tf.int32))) + noise

    lies = tf.logical_and(orders['active'], message['is_byzantine'])
    update = collections.OrderedDict(
      message=tf.cond(lies, row, lambda: message['message']),
      client_id=message['client_id'],
      is_byzantine=message['is_byzantine'],
    )
    return tff.learning.templates.ClientResult(update, sent.update_weight)

  @tff.tensorflow.computation(orders_type, sent_type)
  @tf.function(autograph=False)
  def obey_silently(orders: Any, sent: Any) -> Any:
    return obey(orders, sent, tf.zeros([dimension]))

  @tff.tensorflow.computation(orders_type, sent_type, sent_type)
  @tf.function(autograph=False)
  def obey_with_noise(orders: Any, sent: Any, clean: Any) -> Any:
    noise = sent.update['message'] - clean.update['message']
    # A client whose own training diverged attacks all the same.
    usable = tf.reduce_all(tf.math.is_finite(noise))
    return obey(orders, sent, tf.where(usable, noise, tf.zeros_like(noise)))

  @tff.federated_computation(sent_type)
  def row_of(sent: Any) -> Any:
    return collections.OrderedDict(
      update=sent.update['message'],
      weight=sent.update_weight,
      client_id=sent.update['client_id'],
      is_byzantine=sent.update['is_byzantine'],
    )

  @tff.federated_computation
  def initialize() -> Any:
    clean_state = tff.federated_value((), tff.SERVER)
    if clean_work is not None:
      clean_state = clean_work.initialize()
    return tff.federated_zip(
      collections.OrderedDict(
        honest=honest_work.initialize(),
        clean=clean_state,
        adversary=tff.federated_eval(initial_adversary, tff.SERVER),
      )
    )

  @tff.federated_computation(initialize.type_signature.result, weights_type, values_type)
  def next_fn(state: Any, weights: Any, values: Any) -> Any:
    honest = honest_work.next(state['honest'], weights, values)
    clean_state, seen = state['clean'], honest.result
    if clean_work is not None:
      clean = clean_work.next(state['clean'], weights, values)
      clean_state = clean.state
      seen = clean.result if sees_clean else honest.result
    gathered = collect(tff.federated_map(row_of, seen))
    adversary, orders = tff.federated_map(plan, (state['adversary'], gathered))
    orders = tff.federated_broadcast(orders)
    if byzantine_dp_noise:
      result = tff.federated_map(obey_with_noise, (orders, honest.result, clean.result))
    else:
      result = tff.federated_map(obey_silently, (orders, honest.result))
    following = tff.federated_zip(
      collections.OrderedDict(honest=honest.state, clean=clean_state, adversary=adversary)
    )
    return tff.templates.MeasuredProcessOutput(following, result, honest.measurements)

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
