"""Class names: the docstrings' examples hold, and spellings of the same name are found."""

import doctest

import pytest

from craft.data import class_names
from craft.data.readers import splits


@pytest.mark.parametrize("module", [class_names, splits])
def test_the_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_spellings_of_one_name_are_refused():
    class_names.require_distinct(["cat", "dog", "cat"])
    with pytest.raises(ValueError, match="'Red Panda' and 'red-panda' differ only in spelling"):
        class_names.require_distinct(["Red Panda", "cat", "red-panda"])
