"""A damaged journal gives back what was written, or less, and never something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from craft.evaluation.code_file import CodeFile
from craft.evaluation.journal import UNFINISHED, Journal
from tests.craft.fuzzing import ROUNDS, Damage, damaged, fuzz_file, retyped

RUN = {"model": "qwen2", "condition": "keep_1.0"}
IDENTITY = {"encoder": "a", "versions": {"craft": "1"}}
KNOWN = {number: f"answer {number}" for number in range(12)}


def journal(directory: Path) -> Journal:
    return Journal(directory, IDENTITY)


@ROUNDS
@pytest.mark.parametrize("damage", [damaged, retyped])
@pytest.mark.parametrize("name", ["answers.jsonl", "identity.json"])
def test_journals(tmp_path: Path, name: str, damage: Damage, rounds: int) -> None:
    def write() -> None:
        opened = journal(tmp_path)
        for number in range(0, 12, 3):
            part = {n: KNOWN[n] for n in range(number, number + 3)}
            opened.add(RUN, "domain", part)
        opened.__exit__(KeyboardInterrupt)

    write()
    answers = tmp_path / UNFINISHED / "answers.jsonl"
    whole = answers.read_bytes()

    def read(case: bytes) -> None:
        opened = journal(tmp_path)
        try:
            found = opened.given(RUN, "domain")
            assert found.items() <= KNOWN.items()
            assert set(opened._given) <= {'["domain", {"condition": "keep_1.0", "model": "qwen2"}]'}
        finally:
            opened.__exit__(KeyboardInterrupt)
        answers.write_bytes(whole)

    fuzz_file(tmp_path / UNFINISHED / name, read, rounds, damage, folder=tmp_path)


@ROUNDS
def test_codes(tmp_path: Path, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1000, (12, 3, 2), generator=generator, dtype=torch.int16)
    distances = torch.rand(12, 3, generator=generator)
    file = CodeFile(tmp_path / "x.codes")
    for start in range(0, 12, 4):
        file.append(start, codes[start : start + 4], distances[start : start + 4])

    def read(case: bytes) -> None:
        found = torch.zeros_like(codes), torch.zeros_like(distances)
        for batch in file.read(*found):
            assert torch.equal(found[0][list(batch)], codes[list(batch)])
            assert torch.equal(found[1][list(batch)], distances[list(batch)])

    fuzz_file(file.path, read, rounds, folder=tmp_path)
