"""Two processes give what one gives, file by file, and take up what the other number left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from craft.corpus import tokens
from craft.corpus.count import count_prior
from craft.data.domains.manifest import MANIFEST
from craft.data.domains.user_data import DataRequest
from craft.evaluation.journal import UNFINISHED
from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.encoder_pack import EncoderPack
from craft.workbench.domains import new_domain
from tests.craft.cli.commands import done, one_error_line
from tests.craft.workbench.shared_work import DIES, LINES, call, files, line, patched

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def places(tiny_models: ModelFamily, tmp_path_factory, draw) -> dict[str, str]:
    """A folder of 80 pictures, and packs that were adapted to it."""
    root = tmp_path_factory.mktemp("shared")
    for number in range(80):
        draw(root / "things" / f"thing_{'abcdefgh'[number // 10] * 2}" / f"{number}.png", number)
    request = DataRequest(root / "things", subject="thing")
    domain, manifest = new_domain(request, tiny_models, language_models=tiny_models.names)
    made = {"pack": "craft", "other": "craft", "plain": "vision_ft"}
    for number, (name, method) in enumerate(made.items()):
        tower = tiny_models.pretrained_tower()
        with torch.no_grad():
            tower.embeddings.patch_embedding.weight.mul_(1.5 + number)
        prior = count_prior(tower, domain.train.images)
        notes = {"domain": domain.name, "surrogate": "qwen2", "config": {"method": method}}
        saved = EncoderPack.of(tower, prior, **notes)
        saved.save(root / name, {MANIFEST: manifest.save})
    found = {name: str(root / name) for name in made}
    return found | {"folder": str(root / "things"), "models": str(tiny_models.directory)}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, quiet_process: None) -> Iterator[Callable[..., Any]]:
    """Calls a command in this process, with one thread and in the same small steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    patched(monkeypatch.setattr)
    yield call
    torch.set_num_threads(threads)


def together(places: dict[str, str], *lines: str, **environment: str) -> Any:
    """Two processes under torchrun, one thread each."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    words += ["-m", "tests.craft.workbench.shared_work", json.dumps(places), *lines]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def said(result: Any) -> list[str]:
    """The lines of our errors."""
    assert result.returncode != 0
    return [text for text in result.stderr.splitlines() if text.startswith("error: ")]


def stop_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int) -> None:
    """The so-manieth call ends the command as Ctrl-C would."""
    work, calls = getattr(owner, name), 0

    def stopping(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(owner, name, stopping)


def test_two_processes_give_what_one_gives(places, alone, tmp_path: Path, monkeypatch) -> None:
    one, two = ({**places, "out": str(tmp_path / name)} for name in ("one", "two"))
    for place in (one, two):
        Path(place["out"]).mkdir()
    for name in LINES:
        done(alone(line(name), one))
    # What one process began is ended by two.
    for name, at in (("transfer", 9), ("tokens", 4)):
        owner = AlignedLanguageModel if name == "transfer" else tokens
        with monkeypatch.context() as patch:
            stop_at(patch, owner, "answer" if name == "transfer" else "write_tokens", at)
            assert alone(line(name), two).exit_code == 130
    assert (tmp_path / "two" / "transfer" / UNFINISHED / "answers.jsonl").stat().st_size
    assert len(files(tmp_path / "two" / "tokens")) == 3
    result = together(two, "exchange", *map(line, LINES))
    assert result.returncode == 0, result.stderr[-4000:]
    told = " ".join(result.stdout.split())
    assert told.count("80 images in 9 shards; ") == 1  # the first process alone tells
    assert told.count("time waiting for images to be decoded") == 4
    exchanged = json.loads((tmp_path / "two" / "exchanged.json").read_text())
    (tmp_path / "two" / "exchanged.json").unlink()
    assert files(tmp_path / "two") == files(tmp_path / "one")
    answers = (tmp_path / "one" / "evaluate" / "predictions.jsonl").read_text().splitlines()
    assert len({json.loads(answer)["given"] for answer in answers}) > 5
    assert exchanged == {
        "count": 2,
        "blocks": [[0, 1], [2, 3, 4]],
        "claimed": list("abcde"),
        "again": ["f"],
        "filled": [[-1.5, 7.0, 2.0**99]] * 5,
        "from_main": 0,
        "told": [exchanged["told"][0], []],
    }
    assert exchanged["told"][0][-1] == [10, 10]


@pytest.mark.parametrize("dies", ["1 answer 4", "0 encode 2"])
def test_what_two_began_is_ended_by_one(places, alone, tmp_path: Path, dies: str) -> None:
    one, two = ({**places, "out": str(tmp_path / name)} for name in ("one", "two"))
    done(alone(line("evaluate"), one))
    assert together(two, line("evaluate"), **{DIES: dies}).returncode != 0
    left = sorted(path.name for path in (tmp_path / "two/evaluate" / UNFINISHED).iterdir())
    assert {"identity.json", "pack-domain.codes", "process-1"} <= set(left)
    done(alone(line("evaluate"), two))
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_a_process_that_is_killed_ends_tokenize_which_goes_on(places, alone, tmp_path) -> None:
    one, two = ({**places, "out": str(tmp_path / name)} for name in ("one", "two"))
    done(alone(line("tokens"), one))
    # Each process takes a shard before the other can have done them all.
    assert together(two, line("tokens"), **{DIES: "1 write 1"}).returncode != 0
    assert len(list((tmp_path / "two" / "tokens").glob("tokens-*"))) < 9
    done(alone(line("tokens"), two))
    assert files(tmp_path / "two" / "tokens") == files(tmp_path / "one" / "tokens")


def test_an_error_is_told_once(places, alone, tmp_path: Path) -> None:
    two = {**places, "out": str(tmp_path)}
    # One that all processes meet, and one of a single process.
    (text,) = said(together({**two, "pack": str(tmp_path / "none")}, line("evaluate")))
    assert "is not an encoder pack" in text
    pictures = sorted(Path(places["folder"]).rglob("*.png"))
    whole = pictures[40].read_bytes()
    pictures[40].write_bytes(whole[:60])
    try:
        result = together(two, line("tokens"))
    finally:
        pictures[40].write_bytes(whole)
    (text,) = said(result)
    assert pictures[40].name in text
    assert "craft/cli" not in result.stderr  # no traceback of ours


def test_ray_and_processes_exclude_each_other(places, alone, tmp_path, monkeypatch) -> None:
    from craft.runtime import processes

    monkeypatch.setattr(processes, "joined", lambda device: processes.Processes(0, 2))
    result = alone(line("tokens") + " --ray", {**places, "out": str(tmp_path)})
    assert "use one or the other" in one_error_line(result)
