"""Maps from classes to classes, written as text; free of TensorFlow."""

REVERSE = 'reverse'


def _pairs(name: str, text: str) -> dict[int, int]:
  """Returns the classes that a text such as `1:7,7:1` changes."""
  changed: dict[int, int] = {}
  for pair in text.split(','):
    source, _, target = pair.partition(':')
    if not (source.strip().isdecimal() and target.strip().isdecimal()):
      raise ValueError(
        f'{name}={text!r} must be {REVERSE!r} or pairs of classes such as 1:7,7:1, with commas'
        ' between them.'
      )
    if int(source) in changed:
      raise ValueError(f'{name}={text!r} maps class {int(source)} twice; name it once.')
    changed[int(source)] = int(target)
  return changed


def check(name: str, text: str) -> None:
  """Raises ValueError unless a text is `reverse` or a list of pairs that changes a class."""
  if text != REVERSE and all(source == target for source, target in _pairs(name, text).items()):
    raise ValueError(f'{name}={text!r} changes no label; map at least one class to another.')


def from_text(text: str, *, num_classes: int) -> tuple[int, ...]:
  """Returns the new class of every class.

  Args:
    text: `reverse` for class y to num_classes - 1 - y, else pairs `source:target` with commas
      between them; classes that no pair names stay as they are.
    num_classes: Number of classes.

  Raises:
    ValueError: If a pair is malformed or names a class that there is not.
  """
  if text == REVERSE:
    return tuple(range(num_classes - 1, -1, -1))
  changed = _pairs('attack_class_map', text)
  largest = max([*changed, *changed.values()])
  if largest >= num_classes:
    raise ValueError(
      f'attack_class_map={text!r} names class {largest}, but the classes of the data are 0 to'
      f' {num_classes - 1}: name only these.'
    )
  return tuple(changed.get(label, label) for label in range(num_classes))
