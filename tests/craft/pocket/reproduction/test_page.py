"""The page and the README's table agree with the committed results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from craft.pocket.reproduction.page import readme_table, with_table

ROOT = Path(__file__).parents[4]


def test_the_readme_is_up_to_date() -> None:
    results = json.loads((ROOT / "docs/reproduction.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert with_table(readme, results) == readme
    assert results["scale"]["name"] == "full"


def test_the_page_is_that_of_the_results() -> None:
    results = json.loads((ROOT / "docs/reproduction.json").read_text())
    page = (ROOT / "docs/reproduction.html").read_text()
    for row in results["methods"]:
        assert f"{row['all']['mean']:.1f}" in page
    for claim in results["claims"]:
        assert claim["claim"].replace("'", "&#39;") in page


def test_the_table_needs_its_marks() -> None:
    results = json.loads((ROOT / "docs/reproduction.json").read_text())
    with pytest.raises(ValueError, match="end of reproduction"):
        with_table("<!-- reproduction -->", results)
    assert readme_table(results) in with_table(
        "a\n<!-- reproduction -->\nold\n<!-- end of reproduction -->\nb", results
    )
