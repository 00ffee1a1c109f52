"""Files that CONTRIBUTING.md leads a reader through exist, and there are not too many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("begins", "most"), [("The path of a user's image", 20), ("The path of a question", 15)]
)
def test_the_paths_through_the_code_are_short_and_there(begins: str, most: int) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paragraph = text[text.index(begins) :].split("\n\n")[0]
    files = re.findall(r"`([a-z_/]+\.py)`", paragraph)
    assert 10 <= len(files) < most
    assert [name for name in files if not (ROOT / "craft" / name).is_file()] == []
