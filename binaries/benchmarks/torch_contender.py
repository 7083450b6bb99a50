"""A process that does rounds by hand in PyTorch; started with a Python that has it.

Imports nothing of this project but what the standard library can run. The argument is
`{"device": ...}` as JSON. Rows with Opacus need Opacus.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

from binaries.benchmarks import serving, torch_threads


def _describe() -> dict[str, Any]:
  import torch  # type: ignore[import-not-found]

  return {'torch': torch.__version__, 'gpus': [str(torch.cuda.device_count())]}


def _network(work: dict[str, Any]) -> Any:
  from torch import nn

  if work['hidden_units']:
    return nn.Sequential(
      nn.Flatten(), nn.Linear(3072, work['hidden_units']), nn.ReLU(),
      nn.Linear(work['hidden_units'], 10),
    )  # fmt: skip
  layers: list[Any] = []
  channels = 3
  for position, filters in enumerate((32, 64, 64, 128)):
    layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
    layers += [nn.MaxPool2d(2)] if position < 3 else []
    channels = filters
  return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10))


def _clipped_sum(per_example: list[Any]) -> list[Any]:
  """Sums gradients [m, ...] of examples, each clipped to norm 1, and adds noise."""
  import torch

  squares = [gradient.flatten(1).square().sum(1) for gradient in per_example]
  factors = (1.0 / torch.stack(squares).sum(0).sqrt().clamp(min=1e-12)).clamp(max=1.0)
  sums = [torch.tensordot(factors, gradient, dims=1) for gradient in per_example]
  return [total + torch.randn_like(total) for total in sums]


def _gradient_fn(network: Any, work: dict[str, Any]) -> Callable[[Any, Any], list[Any]]:
  """Returns the function of a batch that gives a client's gradient."""
  import torch
  from torch.nn import functional  # type: ignore[import-not-found]

  parameters = list(network.parameters())
  if not work['private']:

    def plain(x: Any, y: Any) -> list[Any]:
      return list(torch.autograd.grad(functional.cross_entropy(network(x), y), parameters))

    return plain
  if work['per_example'] == 'opacus':
    import opacus  # type: ignore[import-not-found]

    sampled = opacus.GradSampleModule(network)

    def hooked(x: Any, y: Any) -> list[Any]:
      functional.cross_entropy(sampled(x), y, reduction='sum').backward()
      gradients = [parameter.grad_sample for parameter in sampled.parameters()]
      sampled.zero_grad(set_to_none=True)
      return [part / len(y) for part in _clipped_sum(gradients)]

    return hooked
  names = [name for name, _ in network.named_parameters()]

  def loss(weights: dict[str, Any], x: Any, y: Any) -> Any:
    return functional.cross_entropy(
      torch.func.functional_call(network, weights, (x[None],)), y[None]
    )

  each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

  def vectorized(x: Any, y: Any) -> list[Any]:
    weights = {name: p.detach() for name, p in network.named_parameters()}
    found = each(weights, x, y)
    return [part / len(y) for part in _clipped_sum([found[name] for name in names])]

  return vectorized


def _build(device: str, work: dict[str, Any]) -> Callable[[], float]:
  """Returns FedSGD with one client after another, which is how PyTorch is used for it."""
  import torch

  if device == 'auto':
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
  device = device.replace('gpu', 'cuda')
  generator = torch.Generator().manual_seed(0)
  shape = (work['num_clients'], work['batch_size'])
  x = torch.randint(0, 256, (*shape, 3, 32, 32), generator=generator, dtype=torch.uint8).to(device)
  y = torch.randint(0, 10, shape, generator=generator).to(device)
  network = _network(work).to(device)
  gradient = _gradient_fn(network, work)
  parameters = list(network.parameters())
  initial = [parameter.detach().clone() for parameter in parameters]

  def run() -> float:
    messages = []
    for features, labels in zip(x, y):  # noqa: B905 - the Python of PyTorch may be old.
      found = gradient(features.float() * (1 / 127.5) - 1.0, labels)
      messages.append(torch.cat([part.flatten() for part in found]))
    mean = torch.stack(messages).mean(0)
    start = 0
    with torch.no_grad():
      for parameter in parameters:
        parameter -= 0.1 * mean[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
      pairs = zip(parameters, initial)  # noqa: B905
      return math.sqrt(sum(float((now - then).square().sum()) for now, then in pairs))

  if device == 'cpu':
    torch_threads.use_best(run)
  return run


def main() -> None:
  """Serves until standard input ends."""
  device = json.loads(sys.argv[1])['device']
  serving.serve(lambda work: _build(device, work), describe=_describe)


if __name__ == '__main__':
  main()
