"""Interrupted exams resume with the same answers; partly written data is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
from tests.craft.evaluation.fixed_tokens import FixedTokens

RUN = {"model": "qwen2", "condition": "keep_1.0"}


@contextmanager
def stopped(directory: Path, identity: dict[str, str]) -> Iterator[Journal]:
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
        journal.codes("pack").append(torch.zeros(1, 2, 2, dtype=torch.int16), torch.zeros(1, 2))
    with Journal(tmp_path, {"encoder": "b"}) as journal:
        assert journal.given(RUN, "domain") == {}
        assert not journal.codes("pack").path.exists()


def test_two_processes_cannot_write_to_one_directory(tmp_path: Path) -> None:
    with Journal(tmp_path, {}), pytest.raises(CraftError, match="is in use by process"):
        Journal(tmp_path, {})


def test_codes_are_read_back_up_to_the_last_complete_batch(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1000, (7, 3, 2), generator=generator, dtype=torch.int16)
    distances = torch.rand(7, 3, generator=generator)
    path = tmp_path / "x.codes"
    for part in (slice(0, 4), slice(4, 7)):
        CodeFile(path).append(codes[part], distances[part])
    whole = path.read_bytes()
    first = 8 + 4 * 3 * (2 * 2 + 4)
    for cut in range(first, len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = torch.zeros_like(codes), torch.zeros_like(distances)
        done = CodeFile(path).read(*found)
        assert done == (7 if cut == len(whole) else 4)
        assert torch.equal(found[0][:done], codes[:done])
        assert torch.equal(found[1][:done], distances[:done])
        assert path.stat().st_size == (cut if cut == len(whole) else first)
    damaged = bytearray(whole)
    damaged[first + 20] ^= 1
    path.write_bytes(damaged)
    assert CodeFile(path).read(torch.zeros_like(codes), torch.zeros_like(distances)) == 4


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
