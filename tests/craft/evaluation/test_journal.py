"""Interrupted exams resume with the same answers; partly written data is ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from craft.data.images.store import TensorStore
from craft.data.questions import Question
from craft.errors import CraftError
from craft.evaluation.code_file import CodeFile
from craft.evaluation.four_option import answer_questions
from craft.evaluation.journal import UNFINISHED, Journal
from craft.evaluation.visual_tokens import VisualTokens
from craft.family.family import ModelFamily
from craft.runtime.directory_lock import directory_lock
from craft.runtime.json_cards import with_checksum
from tests.craft.evaluation.fixed_tokens import FixedTokens

RUN = {"model": "qwen2", "condition": "keep_1.0"}


@contextmanager
def stopped(directory: Path, identity: dict[str, Any]) -> Iterator[Journal]:
    """The journal of a run that stops before its results are written."""
    journal = Journal(directory, identity)
    yield journal
    journal.__exit__(KeyboardInterrupt)


def test_answers_are_read_back(tmp_path: Path) -> None:
    with stopped(tmp_path, {"encoder": "a"}) as journal:
        journal.add(RUN, "domain", {3: "A", 0: "größer\n"})
        journal.add(RUN, "domain", {1: "B"})
        journal.add(RUN | {"model": "llama"}, "domain", {0: "C"})
    with Journal(tmp_path, {"encoder": "a"}) as journal:
        assert journal.given(RUN, "domain") == {0: "größer\n", 1: "B", 3: "A"}
        assert journal.given(RUN, "general") == {}
    assert not (tmp_path / UNFINISHED).exists()


def test_a_line_cut_at_any_byte_is_dropped(tmp_path: Path) -> None:
    def written() -> Path:
        with stopped(tmp_path, {}) as journal:
            journal.add(RUN, "domain", {0: "A"})
        return tmp_path / UNFINISHED / "answers.jsonl"

    whole = written().read_bytes()
    for cut in range(len(whole)):
        path = tmp_path / UNFINISHED / "answers.jsonl"
        path.write_bytes(whole + whole[:cut])
        with stopped(tmp_path, {}) as journal:
            assert journal.given(RUN, "domain") == {0: "A"}
        assert path.read_bytes() == whole


def test_another_identity_starts_over(tmp_path: Path) -> None:
    with stopped(tmp_path, {"encoder": "a"}) as journal:
        journal.add(RUN, "domain", {0: "A"})
        journal.codes("pack").append(0, torch.zeros(1, 2, 2, dtype=torch.int16), torch.zeros(1, 2))
    with Journal(tmp_path, {"encoder": "b"}) as journal:
        assert journal.given(RUN, "domain") == {}
        assert not journal.codes("pack").path.exists()


def test_what_other_processes_left_is_resumed(tmp_path: Path) -> None:
    with stopped(tmp_path, {}) as journal:
        journal.add(RUN, "domain", {0: "A"})
        other = journal.folder / "process-1"
    other.mkdir()
    entry = json.loads((journal.folder / "answers.jsonl").read_text())
    line = json.dumps(with_checksum({"run": entry["run"], "answers": {"7": "B"}}))
    (other / "answers.jsonl").write_text(line + "\n[")
    with stopped(tmp_path, {}) as journal:
        assert journal.given(RUN, "domain") == {0: "A", 7: "B"}
        assert [path.parent.name for path in journal.codes("x").beside] == ["process-1"]
    assert (other / "answers.jsonl").read_text().endswith("\n")  # the partly written line is gone
    with (
        directory_lock(other),
        pytest.raises(CraftError, match="process-1 is in use by process"),
    ):
        Journal(tmp_path, {})  # an orphan, whose first process has died, may still write
    with Journal(tmp_path, {"another": 1}):
        assert not other.exists()


def test_answers_that_are_not_used_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with stopped(tmp_path, {"versions": {"threads": "1", "torch": "2"}, "encoder": "a"}):
        pass
    assert not caplog.messages
    with Journal(tmp_path, {"versions": {"threads": "2", "torch": "2"}, "encoder": "b"}):
        pass
    (told,) = caplog.messages
    assert "is not used: its threads was '1', not '2'; its encoder was different" in told


def test_two_processes_cannot_write_to_one_directory(tmp_path: Path) -> None:
    with Journal(tmp_path, {}), pytest.raises(CraftError, match="is in use by process"):
        Journal(tmp_path, {})


def test_codes_are_read_back_up_to_the_last_complete_batch(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1000, (7, 3, 2), generator=generator, dtype=torch.int16)
    distances = torch.rand(7, 3, generator=generator)
    path = tmp_path / "x.codes"
    for part in (slice(4, 7), slice(0, 4)):
        CodeFile(path).append(part.start, codes[part], distances[part])
    whole = path.read_bytes()
    first = 12 + 3 * 3 * (2 * 2 + 4)
    for cut in range(first, len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = torch.zeros_like(codes), torch.zeros_like(distances)
        rows = CodeFile(path).read(*found)
        assert rows == [range(4, 7), range(4)][: 2 if cut == len(whole) else 1]
        for batch in rows:
            assert torch.equal(found[0][list(batch)], codes[list(batch)])
            assert torch.equal(found[1][list(batch)], distances[list(batch)])
        assert path.stat().st_size == (cut if cut == len(whole) else first)
    for at in (1, first + 2, first + 20):  # in the number of its first image too
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        found = torch.zeros_like(codes), torch.zeros_like(distances)
        assert CodeFile(path).read(*found) == ([range(4, 7)] if at > first else [])


def test_codes_of_several_processes_are_read_together(tmp_path: Path) -> None:
    codes = torch.arange(1, 7, dtype=torch.int16).view(6, 1, 1)
    distances = codes[..., 0].float()
    for number, start in enumerate((2, 0, 4)):
        part = slice(start, start + 2)
        CodeFile(tmp_path / f"{number}").append(start, codes[part], distances[part])
    found = torch.zeros_like(codes), torch.zeros_like(distances)
    file = CodeFile(tmp_path / "0", [tmp_path / "1", tmp_path / "2", tmp_path / "none"])
    assert file.read(*found) == [range(2, 4), range(2), range(4, 6)]
    assert torch.equal(found[0], codes)
    assert torch.equal(found[1], distances)


def test_encoding_resumes_where_it_stopped(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = TensorStore(torch.rand(150, 3, 24, 24, generator=torch.Generator().manual_seed(3)))
    tower = tiny_models.pretrained_tower()
    whole = VisualTokens(tower, images)
    file = CodeFile(tmp_path / "x.codes")

    def stop(done: int, total: int) -> None:
        if done == 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VisualTokens(tower, images, file=file, on_images=stop)
    seen: list[tuple[int, int]] = []
    again = VisualTokens(tower, images, file=file, on_images=lambda *counts: seen.append(counts))
    assert seen == [(128, 150), (150, 150)]
    assert torch.equal(again.codes, whole.codes)
    assert torch.equal(again.residual_sq, whole.residual_sq)
    monkeypatch.setattr(type(tower), "encode", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(VisualTokens(tower, images, file=file).codes, whole.codes)


def test_only_incomplete_batches_are_asked_again(tiny_models: ModelFamily) -> None:
    visual = FixedTokens(torch.randn(10, 6, 16, generator=torch.Generator().manual_seed(0)))
    asked = [Question(str(i), i, "x", f"what {'object ' * (i % 3)}", "A") for i in range(10)]
    batches: list[dict[int, str]] = []
    model = tiny_models.language_model("qwen2")
    whole = answer_questions(
        model, visual, asked, batch=4, on_answers=lambda found: batches.append(dict(found))
    )
    assert [len(batch) for batch in batches] == [4, 4, 2]
    known = batches[0] | dict(list(batches[1].items())[:3])
    again: list[dict[int, str]] = []
    found = answer_questions(
        model,
        visual,
        asked,
        batch=4,
        known=known,
        on_answers=lambda answers: again.append(dict(answers)),
    )
    assert found == whole
    assert again == batches[1:]
