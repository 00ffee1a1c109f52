"""Decisions that the code cites are written down in docs/methods.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"methods ((?:[A-Z]\d*(?:-[A-Z])?(?:, | and )?)+)")


def test_every_cited_decision_is_in_the_document() -> None:
    document = (ROOT / "docs" / "methods.md").read_text()
    entries = set(re.findall(r"\b([A-FM]\d+)\b", document))
    sections = set(re.findall(r"^## ([A-Z])\. ", document, flags=re.M))
    cited: dict[str, str] = {}
    for path in (ROOT / "craft").rglob("*.py"):
        for found in CITED.findall(path.read_text()):
            for name in re.findall(r"[A-Z]\d*", found):
                cited[name] = path.name
    missing = {name: file for name, file in cited.items() if name not in entries | sections}
    assert not missing
    assert len(cited) > 15
