import numpy as np
import pytest

from tff_robust.data import partition

LABELS = np.repeat(np.arange(10, dtype=np.int32), 120)[np.random.default_rng(7).permutation(1200)]


def _generator(seed=0):
  return np.random.default_rng(seed)


def _deal(kind, seed=0, labels=LABELS, num_clients=12):
  if kind == 'iid':
    return partition.iid(labels, num_clients=num_clients, generator=_generator(seed))
  if kind == 'dirichlet':
    return partition.dirichlet(
      labels, num_clients=num_clients, alpha=0.5, generator=_generator(seed)
    )
  return partition.label_shards(
    labels, num_clients=num_clients, shards_per_client=2, generator=_generator(seed)
  )


def _largest_label_share(parts, labels=LABELS):
  """Mean over clients of the share of the most frequent label: 1/10 uniform, 1 one label."""
  return np.mean([np.bincount(labels[part]).max() / len(part) for part in parts])


@pytest.mark.parametrize('kind', ['iid', 'dirichlet', 'label_shards'])
def test_every_example_goes_to_exactly_one_client(kind):
  parts = _deal(kind)
  assert len(parts) == 12
  assert sorted(np.concatenate(parts).tolist()) == list(range(1200))
  assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize('kind', ['iid', 'dirichlet', 'label_shards'])
def test_seed_alone_decides_the_partition(kind):
  first, again, other = _deal(kind, 3), _deal(kind, 3), _deal(kind, 4)
  assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
  assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize('kind', ['iid', 'dirichlet', 'label_shards'])
def test_refuses_more_clients_than_examples(kind):
  with pytest.raises(ValueError, match=r'num_clients=12 .* cannot share 8 examples'):
    _deal(kind, labels=LABELS[:8])
  with pytest.raises(ValueError, match='num_clients=0 must be at least 1'):
    _deal(kind, num_clients=0)
  with pytest.raises(ValueError, match=r'labels has shape \[1200, 1\]'):
    _deal(kind, labels=LABELS[:, np.newaxis])


def test_iid_gives_equal_sizes_and_leaves_the_remainder_out():
  parts = partition.iid(LABELS[:1195], num_clients=12, generator=_generator())
  assert [len(part) for part in parts] == [99] * 12
  dealt = np.concatenate(parts)
  assert len(np.unique(dealt)) == 12 * 99
  assert dealt.max() < 1195
  # The seven left out are a random choice, not always the last seven of the file.
  assert set(range(1195)) - set(dealt.tolist()) != set(range(1188, 1195))


def test_dirichlet_skew_falls_with_alpha():
  skews = [
    _largest_label_share(
      partition.dirichlet(
        LABELS, num_clients=12, alpha=alpha, generator=_generator(1), min_examples=1
      )
    )
    for alpha in (0.1, 1.0, 1000.0)
  ]
  assert skews[0] > 0.45
  assert skews[0] > skews[1] + 0.1 > skews[2] + 0.2
  # Alpha of 1000 leaves nearly equal shares: 10 examples of each label for each client.
  assert skews[2] < 0.13


@pytest.mark.parametrize('alpha', [0.05, 0.5, 2.0])
def test_dirichlet_class_shares_have_the_moments_of_the_distribution(alpha):
  labels = np.zeros(10_000, np.int32)
  shares = np.array(
    [
      [
        len(part) / 1e4
        for part in partition.dirichlet(
          labels, num_clients=5, alpha=alpha, generator=_generator(seed), min_examples=0
        )
      ]
      for seed in range(300)
    ]
  )
  # Symmetric Dirichlet of 5 parts: mean 1/5, variance (1/5)(4/5)/(5 alpha + 1).
  np.testing.assert_allclose(shares.mean(axis=0), 0.2, atol=0.09)
  np.testing.assert_allclose(shares.var(), 0.16 / (5 * alpha + 1), rtol=0.15)


def test_dirichlet_keeps_the_least_number_of_examples():
  def sizes(least):
    parts = partition.dirichlet(
      LABELS, num_clients=10, alpha=0.3, generator=_generator(2), min_examples=least
    )
    return [len(part) for part in parts]

  assert min(sizes(0)) < 50 <= min(sizes(50))


@pytest.mark.parametrize('alpha', [1e-300, 1e-6])
def test_dirichlet_with_tiny_alpha_gives_each_class_to_one_client(alpha):
  parts = partition.dirichlet(
    LABELS, num_clients=3, alpha=alpha, generator=_generator(), min_examples=0
  )
  assert sorted(np.concatenate(parts).tolist()) == list(range(1200))
  owners = [sum(label in LABELS[part] for part in parts) for label in range(10)]
  assert owners == [1] * 10


def test_dirichlet_refuses_what_it_cannot_meet():
  for alpha in (0.0, -1.0, float('nan'), float('inf')):
    with pytest.raises(ValueError, match=r'alpha=.* must be a finite number above 0'):
      partition.dirichlet(LABELS, num_clients=2, alpha=alpha, generator=_generator())
  with pytest.raises(ValueError, match='dirichlet_alpha=1e-06 left some of num_clients=20'):
    partition.dirichlet(LABELS, num_clients=20, alpha=1e-6, generator=_generator())
  with pytest.raises(ValueError, match='at least 601 examples each cannot share 1200'):
    partition.dirichlet(LABELS, num_clients=2, alpha=1.0, min_examples=601, generator=_generator())


@pytest.mark.parametrize('shards_per_client', [1, 2, 5])
def test_shards_give_a_client_as_many_labels_as_shards_at_most(shards_per_client):
  # 12 * 5 shards of 20, 12 * 2 of 50 and 12 of 100; 20 divides the 120 of a class.
  num_clients = 12 if shards_per_client == 5 else 10
  parts = partition.label_shards(
    LABELS,
    num_clients=num_clients,
    shards_per_client=shards_per_client,
    generator=_generator(),
  )
  assert {len(part) for part in parts} == {1200 // num_clients}
  most = max(len(np.unique(LABELS[part])) for part in parts)
  assert most <= shards_per_client
  shuffled = partition.iid(LABELS, num_clients=num_clients, generator=_generator())
  assert min(len(np.unique(LABELS[part])) for part in shuffled) > shards_per_client


def test_shards_differ_by_one_where_they_do_not_divide():
  parts = partition.label_shards(
    LABELS[:1195], num_clients=7, shards_per_client=2, generator=_generator()
  )
  sizes = [len(part) for part in parts]
  assert sum(sizes) == 1195
  assert max(sizes) - min(sizes) <= 2
  with pytest.raises(ValueError, match='shards_per_client=0 must be at least 1'):
    partition.label_shards(LABELS, num_clients=2, shards_per_client=0, generator=_generator())


def test_hold_out_splits_without_overlap():
  train, validation = partition.hold_out(1497, fraction=0.1, generator=_generator())
  assert len(validation) == 150
  assert sorted([*train.tolist(), *validation.tolist()]) == list(range(1497))
  assert validation.tolist() != list(range(150))
  again = partition.hold_out(1497, fraction=0.1, generator=_generator())
  other = partition.hold_out(1497, fraction=0.1, generator=_generator(1))
  assert np.array_equal(validation, again[1])
  assert not np.array_equal(validation, other[1])


def test_root_set_is_drawn_without_overlap():
  dealt, root = partition.set_aside(300, count=40, generator=_generator())
  assert len(root) == 40
  assert sorted([*dealt.tolist(), *root.tolist()]) == list(range(300))
  assert root.tolist() == sorted(root.tolist())
  assert root.max() > 100
  assert np.array_equal(root, partition.set_aside(300, count=40, generator=_generator())[1])
  other = partition.set_aside(300, count=40, generator=_generator(1))
  assert not np.array_equal(root, other[1])


@pytest.mark.parametrize('count', [300, 301])
def test_root_set_must_leave_something_to_the_clients(count):
  with pytest.raises(ValueError, match=f'root_size={count} leaves none of 300'):
    partition.set_aside(300, count=count, generator=_generator())
  dealt, _ = partition.set_aside(300, count=299, generator=_generator())
  assert len(dealt) == 1


def test_hold_out_refuses_empty_parts():
  with pytest.raises(
    ValueError, match=r'^validation_fraction=0\.1 of 4 .*holds out 0.*raise it\.$'
  ):
    partition.hold_out(4, fraction=0.1, generator=_generator())
  with pytest.raises(
    ValueError, match=r'^validation_fraction=0\.9 of 4 .*holds out 4.*lower it\.$'
  ):
    partition.hold_out(4, fraction=0.9, generator=_generator())
  with pytest.raises(
    ValueError, match=r'^validation_fraction=1\.0 must lie strictly between 0 and 1'
  ):
    partition.hold_out(4, fraction=1.0, generator=_generator())
