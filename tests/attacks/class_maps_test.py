import pytest

from tff_robust.attacks import class_maps


def test_text_names_the_classes_that_change():
  assert class_maps.from_text('reverse', num_classes=4) == (3, 2, 1, 0)
  assert class_maps.from_text('1:3', num_classes=4) == (0, 3, 2, 3)
  assert class_maps.from_text('1:3, 3:1', num_classes=4) == (0, 3, 2, 1)
  class_maps.check('attack_class_map', '1:3,2:2')


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('1-7', 'pairs of classes'),
    ('', 'pairs of classes'),
    ('1:7,', 'pairs of classes'),
    ('-1:7', 'pairs of classes'),
    ('1:7,1:3', 'maps class 1 twice'),
    ('1:1,2:2', 'changes no label'),
  ],
)
def test_text_that_is_no_map_is_refused(text, words):
  with pytest.raises(ValueError, match=words):
    class_maps.check('attack_class_map', text)


def test_classes_that_there_are_not_are_refused():
  with pytest.raises(ValueError, match='names class 4, but the classes of the data are 0 to 3'):
    class_maps.from_text('1:4', num_classes=4)
