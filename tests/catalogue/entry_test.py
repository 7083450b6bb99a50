from tff_robust.catalogue import entry


def test_same_names_binds_each_option_to_the_argument_of_its_name():
  assert entry.same_names('max_byzantine', 'tolerance') == {
    'max_byzantine': 'max_byzantine',
    'tolerance': 'tolerance',
  }
  assert entry.same_names() == {}


def test_a_row_demands_one_client_and_keeps_all_rows_unless_it_says_otherwise():
  row = entry.Entry('module:build', {})
  assert row.required_clients({}) == 1
  assert row.rows_after(7, {}) == 7
