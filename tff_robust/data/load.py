"""Image classification data sets as NumPy arrays in memory, behind one function.

`digits` ships with scikit-learn and needs neither TensorFlow nor a network. The others
are read through tensorflow-datasets: from a prepared folder, or downloaded.
"""

import dataclasses
import os
import pathlib
import ssl
import threading
import urllib.error
import urllib.request
from typing import Any

import numpy as np

from tff_robust import checks, config

# Seconds to wait for a download host before concluding that there is no network.
_PROBE_SECONDS = 5.0
_DIGITS_TEST_IMAGES_PER_CLASS = 30


@dataclasses.dataclass(frozen=True)
class _Remote:
  """What is known of a tensorflow-datasets data set before any of it is read."""

  title: str
  probe_url: str


_REMOTE = {
  'cifar10': _Remote(
    title='CIFAR-10 (Krizhevsky, 2009)',
    probe_url='https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  ),
  'fashion_mnist': _Remote(
    title='Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017)',
    probe_url=(
      'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz'
    ),
  ),
  'mnist': _Remote(
    title='MNIST (LeCun, Cortes and Burges, 1998)',
    probe_url='https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz',
  ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Labelled images in memory; the arrays are read-only.

  Attributes:
    name: One of `config.DATASETS`.
    train_x: uint8 [N, H, W, C].
    train_y: int32 [N], classes 0 .. num_classes - 1.
    test_x: uint8 [M, H, W, C].
    test_y: int32 [M].
    num_classes: Number of classes.
    source: One sentence that says where the images came from and how they were split.
  """

  name: str
  train_x: np.ndarray
  train_y: np.ndarray
  test_x: np.ndarray
  test_y: np.ndarray
  num_classes: int
  source: str

  def __post_init__(self) -> None:
    for array in (self.train_x, self.train_y, self.test_x, self.test_y):
      array.setflags(write=False)


def load_dataset(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
  """Returns a data set as uint8 images and int32 labels.

  Pixel values are left as they are stored: 0 .. 255, and 0 .. 16 for `digits`. A model
  standardises them itself, see `channel_statistics`.

  Args:
    name: One of `config.DATASETS`.
    data_dir: Folder with prepared tensorflow-datasets data, the one that holds
      `<name>/<version>/`; nothing is downloaded or written when it is given. None reads
      tensorflow-datasets' own folder (`$TFDS_DATA_DIR`, else `~/tensorflow_datasets`) and
      downloads into it what is missing. `digits` is embedded and takes none.

  Raises:
    ValueError: If the name is unknown, a folder is given for `digits`, or the data is not
      there or unreadable and cannot be downloaded.
  """
  checks.known_name('dataset', name, config.DATASETS)
  if name == 'digits':
    if data_dir is not None:
      raise ValueError(
        f"data_dir={os.fspath(data_dir)!r} has no effect with dataset 'digits', which is embedded;"
        ' leave it out.'
      )
    return _load_digits()
  if data_dir is not None:
    folder = _newest_version(pathlib.Path(data_dir) / name)
    if folder is None:
      raise ValueError(
        f'data_dir={os.fspath(data_dir)!r} has no prepared {name!r}: expected'
        f' {name}/<version>/dataset_info.json in it; {_cure(name)}.'
      )
    return _read_prepared(name, folder)
  return _read_prepared(name, _default_folder(name))


def channel_statistics(train_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of each channel over all pixels of all images.

  Give it the images that are trained on, after the validation part has been held out.
  The figures are exact functions of those images: they are not covered by a
  differential-privacy guarantee, so use public constants where one is claimed for data
  that is itself secret.

  Args:
    train_x: uint8 [N, H, W, C].

  Returns:
    Two float32 [C]: means, and population standard deviations (1 for a constant channel,
    so that dividing by them is always possible).

  Raises:
    ValueError: If the images are not uint8 [N, H, W, C] or there are none.
  """
  if train_x.ndim != 4 or train_x.dtype != np.uint8 or not train_x.size:
    raise ValueError(
      f'train_x is {train_x.dtype} {list(train_x.shape)}; it must be uint8 [N, H, W, C] with at'
      ' least one image.'
    )
  values = np.arange(256, dtype=np.float64)
  means, deviations = [], []
  for channel in range(train_x.shape[3]):
    # A histogram is exact and needs no copy of the images in float64.
    counts = np.zeros(256, np.int64)
    for start in range(0, len(train_x), 4096):
      pixels = train_x[start : start + 4096, :, :, channel]
      counts += np.bincount(pixels.ravel(), minlength=256)
    share = counts / counts.sum()
    mean = share @ values
    deviation = np.sqrt(share @ np.square(values - mean))
    means.append(mean)
    deviations.append(deviation if deviation > 0 else 1.0)
  return np.array(means, np.float32), np.array(deviations, np.float32)


def _load_digits() -> Dataset:
  """scikit-learn's digits; 30 images a class, evenly spaced in file order, are the test."""
  from sklearn import datasets  # Only this data set needs scikit-learn.

  digits = datasets.load_digits()
  images = digits.images.astype(np.uint8)[..., np.newaxis]
  labels = digits.target.astype(np.int32)
  is_test = np.zeros(len(labels), bool)
  for label in range(10):
    members = np.flatnonzero(labels == label)
    spaced = np.linspace(0, len(members) - 1, _DIGITS_TEST_IMAGES_PER_CLASS)
    is_test[members[np.round(spaced).astype(np.int64)]] = True
  return Dataset(
    name='digits',
    train_x=images[~is_test],
    train_y=labels[~is_test],
    test_x=images[is_test],
    test_y=labels[is_test],
    num_classes=10,
    source=(
      'Handwritten digits of scikit-learn (Alpaydin and Kaynak, UCI, 1998; 8x8 pixels with'
      ' values 0..16), of which 30 images a class, evenly spaced in file order, are the test set.'
    ),
  )


def _default_folder(name: str) -> pathlib.Path:
  """Returns the prepared folder under tensorflow-datasets' own, downloading if need be."""
  configured = os.environ.get('TFDS_DATA_DIR')
  root = pathlib.Path(configured) if configured else pathlib.Path.home() / 'tensorflow_datasets'
  folder = _newest_version(root / name)
  if folder is not None:
    return folder
  # Without a network the downloader retries for minutes before it says so.
  url = _REMOTE[name].probe_url
  if not _reachable(url):
    host = urllib.request.Request(url).host
    raise ValueError(
      f'dataset={name!r} is not prepared in {os.fspath(root)!r} and its host {host} cannot be'
      f' reached to download it; {_cure(name)}.'
    )
  import tensorflow_datasets as tfds  # Imports TensorFlow, which digits does without.

  builder = tfds.builder(name, data_dir=os.fspath(root))
  try:
    builder.download_and_prepare()
  except (
    OSError,
    tfds.download.DownloadError,
    tfds.download.download_manager.NonMatchingChecksumError,
    tfds.download.extractor.ExtractError,
  ) as error:
    raise ValueError(
      f'dataset={name!r} could not be downloaded ({type(error).__name__}); {_cure(name)}.'
    ) from error
  return pathlib.Path(builder.data_dir)


def _cure(name: str) -> str:
  return (
    f'pass --data_dir=DIR where DIR holds a prepared tensorflow-datasets folder {name}/, or'
    ' --dataset=digits, which needs no download'
  )


def _newest_version(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the highest `<major>.<minor>.<patch>` with metadata in a data set's folder."""
  versions = {}
  for info in folder.glob('*/dataset_info.json'):
    parts = info.parent.name.split('.')
    if len(parts) == 3 and all(part.isdecimal() for part in parts):
      versions[tuple(int(part) for part in parts)] = info.parent
  return versions[max(versions)] if versions else None


def _reachable(url: str) -> bool:
  """Says within seconds whether a host answers, through a proxy where one is configured."""
  answers: list[bool] = []

  def ask() -> None:
    try:
      request = urllib.request.Request(url, method='HEAD')
      opener = urllib.request.build_opener()  # The shared one keeps the proxies it met first.
      with opener.open(request, timeout=_PROBE_SECONDS):
        answers.append(True)
    except urllib.error.HTTPError as error:
      answers.append(error.code == 405)  # The host is there and dislikes HEAD.
    except urllib.error.URLError as error:
      # The downloader brings its own certificates, so a lack of them here is no obstacle.
      answers.append(isinstance(error.reason, ssl.SSLError))
    except OSError:
      answers.append(False)

  # Name resolution has no time limit of its own, hence the thread.
  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(2 * _PROBE_SECONDS)
  return bool(answers) and answers[0]


def _read_prepared(name: str, folder: pathlib.Path) -> Dataset:
  """Reads both splits of a prepared folder, each as one batch, in file order."""
  import tensorflow as tf  # Both take seconds to import, which digits does without.
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(os.fspath(folder))
    arrays = {}
    for split in ('train', 'test'):
      batch = builder.as_dataset(split=split, batch_size=-1, shuffle_files=False)
      arrays[split] = np.asarray(batch['image']), np.asarray(batch['label'], np.int32)
    num_classes = int(builder.info.features['label'].num_classes)
    is_lossy = _is_jpeg(builder)
  except (OSError, KeyError, ValueError, AssertionError, tf.errors.OpError) as error:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(
      f'dataset={name!r} in {os.fspath(folder)!r} cannot be read ({reason[:200]}); prepare it'
      f' anew or {_cure(name)}.'
    ) from error
  (train_x, train_y), (test_x, test_y) = arrays['train'], arrays['test']
  return Dataset(
    name=name,
    train_x=train_x,
    train_y=train_y,
    test_x=test_x,
    test_y=test_y,
    num_classes=num_classes,
    source=(
      f'{_REMOTE[name].title}, read by tensorflow-datasets, version {folder.name}'
      + (', from a lossy JPEG re-encoding of its images.' if is_lossy else '.')
    ),
  )


def _is_jpeg(builder: Any) -> bool:
  """Tells whether a prepared folder stores its images as JPEG; the original ones are PNG."""
  import tensorflow_datasets as tfds

  (first,) = builder.as_dataset(
    split='test[:1]', decoders={'image': tfds.decode.SkipDecoding()}
  ).take(1)
  return bool(first['image'].numpy().startswith(b'\xff\xd8'))
