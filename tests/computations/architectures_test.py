import subprocess
import sys

import pytest

from computations import architectures
from tff_robust import config

# Counted by hand from kernels and biases. A 3x3 convolution from c to k channels has
# 9ck + k, a dense layer from c to k units ck + k; two poolings take 32, 28 and 8 pixels to
# 8, 7 and 2.
PARAMETERS = [
  ('logistic', (32, 32, 3), 30_730),
  ('logistic', (28, 28, 1), 7_850),
  ('logistic', (8, 8, 1), 650),
  ('mlp', (32, 32, 3), 656_810),
  ('mlp', (28, 28, 1), 199_210),
  ('mlp', (8, 8, 1), 55_210),
  ('small', (32, 32, 3), 37_146),
  ('small', (28, 28, 1), 32_058),
  ('small', (8, 8, 1), 17_658),
  ('literal', (32, 32, 3), 342_090),
  ('literal', (28, 28, 1), 321_738),
  ('literal', (8, 8, 1), 264_138),
  ('xie', (32, 32, 3), 1_310_154),
  ('xie', (28, 28, 1), 1_063_242),
  ('xie', (8, 8, 1), 325_962),
]


@pytest.mark.parametrize(('name', 'input_shape', 'expected'), PARAMETERS)
def test_parameter_counts(name, input_shape, expected):
  counted = architectures.num_parameters(name, input_shape=input_shape, num_classes=10)
  assert counted == expected


def test_small_has_four_convolutions_and_one_dense_layer():
  assert architectures.weight_shapes('small', input_shape=(32, 32, 3), num_classes=10) == [
    (3, 3, 3, 16),
    (16,),
    (3, 3, 16, 16),
    (16,),
    (3, 3, 16, 32),
    (32,),
    (3, 3, 32, 32),
    (32,),
    (2048, 10),
    (10,),
  ]


def test_every_configurable_model_has_an_architecture():
  assert sorted(config.MODELS) == sorted(architectures.MODELS)


@pytest.mark.parametrize('name', ['xie_bn', 'small_bn', 'batch_norm_cnn'])
def test_batch_normalisation_is_refused_with_the_reason(name):
  with pytest.raises(ValueError, match='gradient of one example depend on the others') as info:
    architectures.architecture(name)
  assert f'use {name.removesuffix("_bn")!r}' in str(info.value) or name == 'batch_norm_cnn'


def test_refuses_unknown_names_and_unusable_shapes():
  with pytest.raises(ValueError, match="Did you mean 'literal'"):
    architectures.architecture('litteral')
  with pytest.raises(ValueError, match='too small for model'):
    architectures.weight_shapes('small', input_shape=(3, 32, 1), num_classes=10)
  with pytest.raises(ValueError, match='height, width and channels'):
    architectures.weight_shapes('mlp', input_shape=(784,), num_classes=10)
  with pytest.raises(ValueError, match='num_classes=1 must be at least 2'):
    architectures.weight_shapes('mlp', input_shape=(8, 8, 1), num_classes=1)


def test_needs_no_tensorflow():
  code = 'import sys; from computations import architectures; sys.exit("tensorflow" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], check=False, timeout=60).returncode == 0
