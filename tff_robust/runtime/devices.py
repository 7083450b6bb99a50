"""Where TensorFlow computes: CPU or GPU, chosen before it starts."""

import contextlib
import os
import sys

from tff_robust import checks, processor

OPERATION_THREADS = 'TF_NUM_INTRAOP_THREADS'
_ONEDNN = 'TF_ENABLE_ONEDNN_OPTS'
# At 'true', TensorFlow takes the memory of GPUs as it needs it, whatever else it is told.
_GROWTH = 'TF_FORCE_GPU_ALLOW_GROWTH'


def is_known(device: str) -> bool:
  """Tells whether a device is 'auto', 'cpu' or 'gpu:N'."""
  kind, _, index = device.partition(':')
  return device in ('auto', 'cpu') or (kind == 'gpu' and index.isdecimal())


def check_known(device: str) -> None:
  """Raises ValueError unless a device is 'auto', 'cpu' or 'gpu:N'."""
  if not (isinstance(device, str) and is_known(device)):
    raise ValueError(f"device={device!r} is not known; choose 'auto', 'cpu' or 'gpu:0'.")


def check_visible(device: str) -> None:
  """Raises ValueError unless a device is known and is one that TensorFlow sees.

  Args:
    device: 'auto', 'cpu' or 'gpu:N', the N-th GPU of those that `choose` left visible.
  """
  import tensorflow as tf

  check_known(device)
  if device.startswith('gpu:'):
    _check_there(device, len(tf.config.get_visible_devices('GPU')))


def _check_there(device: str, num_gpus: int) -> None:
  if int(device[4:]) >= num_gpus:
    raise ValueError(
      f'device={device!r} is not there: TensorFlow finds {num_gpus} GPUs; '
      '`python -m binaries.doctor` says why.'
    )


def check_client_threads(client_threads: int) -> None:
  """Raises ValueError unless a number of clients at a time is a whole number above 0."""
  checks.whole_at_least('client_threads', client_threads, 1)


def check_operation_threads() -> None:
  """Raises ValueError unless `TF_NUM_INTRAOP_THREADS` is a number of threads, or not set."""
  _operation_threads()


def _operation_threads() -> int:
  """Returns `TF_NUM_INTRAOP_THREADS`, or 0, by which TensorFlow chooses, where it is not set.

  TensorFlow takes anything that is no number for 0 without a word.
  """
  value = os.environ.get(OPERATION_THREADS, '')
  if value and not (value.isascii() and value.strip().isdecimal()):
    raise ValueError(
      f'{OPERATION_THREADS}={value!r}, an environment variable, must be a whole number, at least 0;'
      ' set it to how many threads an operation may have, or unset it.'
    )
  return int(value or '0')


def prepare() -> str:
  """Switches on oneDNN, which is faster on every processor tried; call before TensorFlow starts.

  An environment variable that is set already is left alone.

  Returns:
    'oneDNN on', 'oneDNN off', or that TensorFlow had been imported and chose by itself.
  """
  if _ONEDNN not in os.environ:
    if 'tensorflow' in sys.modules:
      return "oneDNN as TensorFlow's default"
    os.environ[_ONEDNN] = '1'
  return 'oneDNN off' if os.environ[_ONEDNN] == '0' else 'oneDNN on'


def forbid_fewer_digits() -> None:
  """Keeps GPUs from float32 products with 10 bits, by which gradients would exceed their clip."""
  import tensorflow as tf

  tf.config.experimental.enable_tensor_float_32_execution(False)


def choose(device: str) -> str:
  """Makes TensorFlow see only the chosen device, and take GPU memory as it needs it.

  Args:
    device: 'auto' (a GPU where TensorFlow finds one), 'cpu' or 'gpu:N'.

  Returns:
    The device in words, and whether TensorFlow had started and keeps all of its memory.

  Raises:
    ValueError: If there is no such device, or TensorFlow has started with others.
  """
  import tensorflow as tf

  gpus = tf.config.list_physical_devices('GPU')
  wanted = gpus
  if device == 'cpu':
    wanted = []
  elif device.startswith('gpu:'):
    _check_there(device, len(gpus))
    wanted = [gpus[int(device[4:])]]
  memory = ''
  try:
    tf.config.set_visible_devices(wanted, 'GPU')
    for gpu in wanted:
      tf.config.experimental.set_memory_growth(gpu, True)
  except RuntimeError as error:
    if tf.config.get_visible_devices('GPU') != wanted:
      raise ValueError(
        f'device={device!r} comes too late: TensorFlow has started with other devices.'
      ) from error
    if wanted and os.environ.get(_GROWTH) != 'true':
      memory = ', with all of its memory taken (TensorFlow had started)'
  return describe(device) + memory


def describe(device: str) -> str:
  """Returns where TensorFlow computes, in words."""
  import tensorflow as tf

  gpus = tf.config.get_visible_devices('GPU')
  if device != 'cpu' and gpus:
    index = int(device[4:]) if device.startswith('gpu:') else 0
    gpu = gpus[index] if index < len(gpus) else gpus[0]
    details = tf.config.experimental.get_device_details(gpu)
    return f'{gpu.name.removeprefix("/physical_device:")} ({details.get("device_name", "a GPU")})'
  return f'the CPU ({processor.num_cores()} cores)'


def threads_per_operation(client_threads: int) -> int:
  """Returns how many threads an operation has when the clients of a time share the cores."""
  return max(1, processor.num_cores() // client_threads)


def share_cores(client_threads: int) -> None:
  """Gives operations of this process so many threads that clients at a time share the cores.

  TensorFlow lets every operation use all cores, also where as many others run: they wait for each
  other. Nothing changes where the user has chosen (by `TF_NUM_INTRAOP_THREADS` or `tf.config`), or
  TensorFlow has started.

  Args:
    client_threads: Clients that run at the same time.

  Raises:
    ValueError: If `TF_NUM_INTRAOP_THREADS` is no number of threads.
  """
  import tensorflow as tf

  check_operation_threads()
  threading = tf.config.threading
  if OPERATION_THREADS in os.environ or threading.get_intra_op_parallelism_threads():
    return
  with contextlib.suppress(RuntimeError):  # It has started.
    threading.set_intra_op_parallelism_threads(threads_per_operation(client_threads))


def describe_operation_threads() -> str:
  """Returns how many threads an operation of this process has, in words.

  Raises:
    ValueError: If `TF_NUM_INTRAOP_THREADS` is no number of threads.
  """
  import tensorflow as tf

  chosen = tf.config.threading.get_intra_op_parallelism_threads() or _operation_threads()
  if not chosen:
    return "operations on as many threads as TensorFlow's default"
  return f'operations on {chosen} thread{"s" * (chosen > 1)} each'


def default_client_threads(device: str) -> int:
  """Returns how many clients run at the same time by default: 1 on a GPU, else the cores."""
  import tensorflow as tf

  if device != 'cpu' and tf.config.get_visible_devices('GPU'):
    return 1
  return processor.num_cores()
