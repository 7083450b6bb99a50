import http.server
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tff_robust.data import load


def _images(num, shape, seed):
  generator = np.random.default_rng(seed)
  return generator.integers(0, 256, (num, *shape), dtype=np.uint8)


def _write_prepared(root, name, *, version='3.0.1', shape=(28, 28, 1), seed=0, encoding='png'):
  """Writes a small folder in the format of tensorflow-datasets and returns its arrays."""
  import tensorflow as tf
  import tensorflow_datasets as tfds

  folder = root / name / version
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Image(shape=shape, encoding_format=encoding),
      'label': tfds.features.ClassLabel(num_classes=10),
    }
  )
  written, splits = {}, []
  for split, num in (('train', 23), ('test', 7)):
    x = _images(num, shape, seed + num)
    y = (np.arange(num, dtype=np.int32) * 3) % 10
    path = folder / f'{name}-{split}.tfrecord-00000-of-00001'
    records = [
      features.serialize_example(features.encode_example({'image': image, 'label': int(label)}))
      for image, label in zip(x, y, strict=True)
    ]
    with tf.io.TFRecordWriter(str(path)) as writer:
      for record in records:
        writer.write(record)
    splits.append(
      tfds.core.SplitInfo(name=split, shard_lengths=[num], num_bytes=sum(map(len, records)))
    )
    written[split] = x, y
  tfds.folder_dataset.write_metadata(
    data_dir=str(folder),
    features=features,
    split_infos=splits,
    filename_template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
    check_data=False,
  )
  return written


def _use_proxy(monkeypatch, port):
  for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(name, f'http://127.0.0.1:{port}')
  for name in ('no_proxy', 'NO_PROXY'):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_network(monkeypatch):
  with socket.socket() as unused:
    unused.bind(('127.0.0.1', 0))
    _use_proxy(monkeypatch, unused.getsockname()[1])
    yield  # Bound but not listening: every connection is refused.


@pytest.fixture
def host_that_answers(monkeypatch):
  class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self):
      self.send_response(self.status)
      self.end_headers()

    def log_message(self, *args):
      del args

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _use_proxy(monkeypatch, server.server_port)
    yield Answer
    server.shutdown()


def test_digits_are_the_real_ones():
  digits = load.load_dataset('digits')
  assert digits.train_x.shape == (1497, 8, 8, 1)
  assert digits.test_x.shape == (300, 8, 8, 1)
  assert (digits.train_x.dtype, digits.train_y.dtype) == (np.uint8, np.int32)
  # Every image is used once: the pixels and labels of the published file sum to these.
  assert int(digits.train_x.sum(dtype=np.int64) + digits.test_x.sum(dtype=np.int64)) == 561718
  assert int(digits.train_y.sum() + digits.test_y.sum()) == 8070
  assert (int(digits.train_x.min()), int(digits.train_x.max())) == (0, 16)
  # The first record of the published file: a zero, whose first row is 0 0 5 13 9 1 0 0. It
  # opens the test part, as the first image of its class.
  assert digits.test_x[0, 0, :, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
  assert digits.test_y[0] == 0
  assert np.bincount(digits.test_y).tolist() == [30] * 10
  assert '0..16' in digits.source


def test_digits_need_no_tensorflow():
  code = (
    'import sys; from tff_robust.data import load; load.load_dataset("digits");'
    ' sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False, timeout=60).returncode == 0


def test_arrays_are_read_only():
  digits = load.load_dataset('digits')
  with pytest.raises(ValueError, match='read-only'):
    digits.train_x[0, 0, 0, 0] = 1


def test_refuses_unknown_names_and_unread_folders(tmp_path):
  with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
    load.load_dataset('cifar')
  with pytest.raises(ValueError, match="no effect with dataset 'digits'"):
    load.load_dataset('digits', data_dir=tmp_path)


@pytest.mark.parametrize(
  ('name', 'shape'),
  [('mnist', (28, 28, 1)), ('fashion_mnist', (28, 28, 1)), ('cifar10', (32, 32, 3))],
)
def test_reads_a_prepared_folder_in_file_order(tmp_path, name, shape):
  written = _write_prepared(tmp_path, name, shape=shape)
  dataset = load.load_dataset(name, data_dir=tmp_path)
  np.testing.assert_array_equal(dataset.train_x, written['train'][0])
  np.testing.assert_array_equal(dataset.train_y, written['train'][1])
  np.testing.assert_array_equal(dataset.test_x, written['test'][0])
  np.testing.assert_array_equal(dataset.test_y, written['test'][1])
  assert (dataset.train_x.dtype, dataset.train_y.dtype) == (np.uint8, np.int32)
  assert (dataset.name, dataset.num_classes) == (name, 10)
  assert '3.0.1' in dataset.source
  assert 'JPEG' not in dataset.source


def test_source_says_when_images_are_jpeg(tmp_path):
  _write_prepared(tmp_path, 'cifar10', shape=(32, 32, 3), encoding='jpeg')
  assert 'lossy JPEG' in load.load_dataset('cifar10', data_dir=str(tmp_path)).source


def test_reads_the_highest_version(tmp_path):
  _write_prepared(tmp_path, 'mnist', version='3.0.9', seed=1)
  newest = _write_prepared(tmp_path, 'mnist', version='3.0.10', seed=2)
  (tmp_path / 'mnist' / '9.9.9.incomplete').mkdir()
  dataset = load.load_dataset('mnist', data_dir=tmp_path)
  np.testing.assert_array_equal(dataset.train_x, newest['train'][0])


def test_a_folder_without_the_data_is_one_clear_sentence(tmp_path):
  _write_prepared(tmp_path, 'mnist')
  for data_dir in (tmp_path, tmp_path / 'missing'):
    with pytest.raises(
      ValueError, match=r'no prepared .cifar10.*--data_dir=DIR.*--dataset=digits'
    ) as info:
      load.load_dataset('cifar10', data_dir=data_dir)
    assert '\n' not in str(info.value)


def test_a_damaged_folder_is_one_clear_sentence(tmp_path):
  _write_prepared(tmp_path, 'mnist')
  (records,) = (tmp_path / 'mnist' / '3.0.1').glob('*train.tfrecord*')
  records.write_bytes(records.read_bytes()[:1000])
  with pytest.raises(ValueError, match=r'cannot be read .*prepare it anew') as info:
    load.load_dataset('mnist', data_dir=tmp_path)
  assert '\n' not in str(info.value)


def test_without_network_the_cure_is_named_at_once(tmp_path, monkeypatch, no_network):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  start = time.monotonic()
  for name in ('mnist', 'fashion_mnist', 'cifar10'):
    with pytest.raises(ValueError, match=f"'{name}' is not prepared .*--data_dir=.*digits"):
      load.load_dataset(name)
  assert time.monotonic() - start < 30
  assert not list(tmp_path.iterdir())


def test_prepared_data_needs_no_network(tmp_path, monkeypatch, no_network):
  written = _write_prepared(tmp_path, 'mnist')
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  np.testing.assert_array_equal(load.load_dataset('mnist').test_x, written['test'][0])


class _Builder:
  """Stands in for a builder that downloads: it writes a small folder instead."""

  def __init__(self, name, data_dir, failure=None):
    import pathlib

    self.name = name
    self.root = pathlib.Path(data_dir)
    self.data_dir = str(self.root / name / '3.0.1')
    self.failure = failure

  def download_and_prepare(self):
    if self.failure is not None:
      raise self.failure
    _write_prepared(self.root, self.name)


def test_downloads_what_is_missing_where_the_host_answers(tmp_path, monkeypatch, host_that_answers):
  import tensorflow_datasets as tfds

  del host_that_answers
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  monkeypatch.setattr(tfds, 'builder', _Builder)
  assert load.load_dataset('fashion_mnist').train_x.shape == (23, 28, 28, 1)
  monkeypatch.setattr(tfds, 'builder', None)  # A second load must not download again.
  assert load.load_dataset('fashion_mnist').test_x.shape == (7, 28, 28, 1)


def test_a_failed_download_names_the_cure(tmp_path, monkeypatch, host_that_answers):
  import tensorflow_datasets as tfds

  del host_that_answers
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  monkeypatch.setattr(
    tfds, 'builder', lambda name, data_dir: _Builder(name, data_dir, ConnectionError('cut off'))
  )
  with pytest.raises(ValueError, match=r'could not be downloaded \(ConnectionError\).*--data_dir'):
    load.load_dataset('fashion_mnist')


def test_a_download_that_is_answered_by_an_error_page_names_the_cure(
  tmp_path, monkeypatch, host_that_answers
):
  import tensorflow_datasets as tfds

  del host_that_answers
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  failure = tfds.download.DownloadError('HTTP code: 404.')
  monkeypatch.setattr(tfds, 'builder', lambda name, data_dir: _Builder(name, data_dir, failure))
  with pytest.raises(ValueError, match=r'could not be downloaded \(DownloadError\).*--data_dir'):
    load.load_dataset('fashion_mnist')


@pytest.mark.parametrize(
  ('status', 'is_there'), [(200, True), (405, True), (403, False), (503, False)]
)
def test_a_gateway_that_refuses_is_no_network(
  tmp_path, monkeypatch, host_that_answers, status, is_there
):
  import tensorflow_datasets as tfds

  host_that_answers.status = status
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  monkeypatch.setattr(
    tfds, 'builder', lambda name, data_dir: _Builder(name, data_dir, ConnectionError('cut off'))
  )
  expected = 'could not be downloaded' if is_there else 'cannot be reached'
  with pytest.raises(ValueError, match=expected):
    load.load_dataset('fashion_mnist')


def test_channel_statistics_are_those_of_numpy():
  x = _images(5000, (4, 3, 3), 1) // np.array([1, 2, 5], np.uint8)
  mean, std = load.channel_statistics(x)
  assert mean.dtype == std.dtype == np.float32
  np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 2), dtype=np.float64), rtol=1e-6)
  np.testing.assert_allclose(std, x.std(axis=(0, 1, 2), dtype=np.float64), rtol=1e-6)


def test_a_constant_channel_gets_unit_deviation():
  mean, std = load.channel_statistics(np.full((3, 2, 2, 1), 9, np.uint8))
  assert (mean.tolist(), std.tolist()) == ([9.0], [1.0])


@pytest.mark.parametrize(
  'images',
  [np.zeros((0, 2, 2, 1), np.uint8), np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2, 1))],
)
def test_channel_statistics_refuse_what_are_not_images(images):
  with pytest.raises(ValueError, match=r'must be uint8 \[N, H, W, C\]'):
    load.channel_statistics(images)
