"""``craft adapt`` in a directory with an earlier run resumes it, replaces it or refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from craft.family.family import ModelFamily
from craft.family.manifest import write_anew
from craft.models import encoder_pack
from craft.models.encoder_pack import EncoderPack
from craft.models.pack_card import PARTS
from craft.runtime.directory_lock import directory_lock
from craft.training.training_run import TrainingRun
from tests.craft.cli.commands import FEW, QUICK, craft_command, done, one_error_line
from tests.craft.conftest import NAMES

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")

State = dict[str, tuple[int, bytes]]


def state(directory: Path) -> State:
    """Times and bytes of a directory and everything in it."""
    paths = [directory, *directory.rglob("*")]
    return {
        str(p.relative_to(directory)): (
            p.stat().st_mtime_ns,
            p.read_bytes() if p.is_file() else b"",
        )
        for p in paths
    }


def pack_files(directory: Path) -> dict[str, bytes]:
    """Bytes of a pack's parts and its card."""
    found = [p for name in (*PARTS, "pack.json") for p in [directory / name] if p.exists()]
    files = [x for p in found for x in (p.rglob("*") if p.is_dir() else [p]) if x.is_file()]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Path]) -> Path:
    """Eight classes of ten pictures, one folder each."""
    root = tmp_path_factory.mktemp("photos") / "things"
    for number in range(80):
        draw(root / NAMES[number // 10].replace(" ", "_") / f"{number % 10}.png", number)
    return root


@pytest.fixture(scope="module")
def finished(
    photos: Path, tiny_models: ModelFamily, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run on these photos, with its checkpoints."""
    out = tmp_path_factory.mktemp("finished") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("craft.cli.process.prepare", lambda: None)
        done(craft_command(*given(photos, tiny_models.directory, out)))
    return out


def given(photos: Path, models: Path, out: Path) -> list[Any]:
    return ["adapt", "--data", photos, "--models", models, "--out", out, *QUICK]


def other_picture(photos: Path, models: Path, draw: Any) -> list[Any]:
    draw(photos / "thing_aa" / "3.png", 999)
    return []


def other_eps(photos: Path, models: Path, draw: Any) -> list[Any]:
    path = models / "qwen2" / "config.json"
    path.write_text(re.sub(r'("rms_norm_eps": )\S+,', r"\g<1>0.001,", path.read_text()))
    return []


def other_text_tower(photos: Path, models: Path, draw: Any) -> list[Any]:
    path = models / "siglip" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["layer_norm_eps"] = 0.001
    path.write_text(json.dumps(config))
    return []


def other_class(photos: Path, models: Path, draw: Any) -> list[Any]:
    (photos / "thing_bb").rename(photos / "thing_ii")
    return []


def options(*arguments: str) -> Callable[..., list[Any]]:
    return lambda photos, models, draw: list(arguments)


ATTACKS: dict[str, tuple[Callable[..., list[Any]], str]] = {
    "picture": (other_picture, "content in domain.json"),
    "surrogate": (options("--surrogate", "llama"), "language model"),
    "subject": (options("--subject", "group"), "subject in domain.json"),
    "distractors": (options("--distractors", "hard"), "test questions"),
    "language model's config": (other_eps, "language model"),
    "text tower": (other_text_tower, "text tower"),
    "class": (other_class, "classes in domain.json"),
    "settings": (options("--set", "seed=5"), r"other settings \(seed: 0 -> 5\)"),
    "precision": (options("--set", "hardware.precision=bf16"), "precision"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_run_is_refused_by_what_differs_and_nothing_is_written(
    attack: str,
    finished: Path,
    photos: Path,
    tiny_models: ModelFamily,
    tmp_path: Path,
    draw: Callable[..., Path],
) -> None:
    data, models, out = tmp_path / photos.name, tmp_path / "models", tmp_path / "out"
    for source, target in ((photos, data), (tiny_models.directory, models), (finished, out)):
        shutil.copytree(source, target)
    change, told = ATTACKS[attack]
    more = change(data, models, draw)
    write_anew(models)  # its files were changed on purpose
    before = state(out)
    line = one_error_line(craft_command(*given(data, models, out), *more, "--resume", "auto"))
    assert re.search(told, line), line
    assert state(out) == before


def test_the_same_run_elsewhere_is_resumed_and_gives_the_same_bytes(
    finished: Path, photos: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    """The directory of the models is not part of a run's identity; a finished pack is unchanged."""
    models, out = tmp_path / "models", tmp_path / "out"
    shutil.copytree(tiny_models.directory, models)
    shutil.copytree(finished, out)
    before = pack_files(out)
    same = given(photos, tiny_models.directory, out)
    assert "all 2 steps are done" in done(craft_command(*same, "--resume", "auto"))
    assert pack_files(out) == before
    done(craft_command(*given(photos, models, out), "--resume", "auto"))
    after = pack_files(out)
    assert {name for name in before if before[name] != after[name]} <= {"pack.json"}


def test_equal_runs_give_equal_bytes_and_the_umasks_modes(
    finished: Path, photos: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mask = os.umask(0o027)
    try:
        done(craft_command(*given(photos, tiny_models.directory, out)))
    finally:
        os.umask(mask)
    assert pack_files(out) == pack_files(finished)
    assert {p.name for p in out.rglob("*") if stat.S_IMODE(p.stat().st_mode) & 0o027} == set()
    assert {stat.S_IMODE(p.stat().st_mode) for p in out.rglob("*") if p.is_file()} == {0o640}
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]


def test_two_runs_in_one_directory(
    finished: Path, photos: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with directory_lock(out):
        before = state(out)
        for option in ("--force", "--resume=auto"):
            line = one_error_line(craft_command(*given(photos, tiny_models.directory, out), option))
            assert f"{out} is in use by process {os.getpid()} on " in line
        assert state(out) == before


def test_a_run_that_begins_meanwhile_is_refused_when_it_would_write(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs found the directory free before they read models and data."""
    out = tmp_path / "out"
    begun = []
    prepare = TrainingRun.__init__

    def slow(self: TrainingRun, *args: Any) -> None:
        lock = directory_lock(out)
        lock.__enter__()
        begun.append(lock)
        prepare(self, *args)

    monkeypatch.setattr(TrainingRun, "__init__", slow)
    run = ["adapt", "--domain", "flags", "--models", tiny_models.directory, "--out", out, *QUICK]
    assert "is in use by" in one_error_line(craft_command(*run))
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_a_pack_over_another_kind_of_pack_keeps_nothing_of_it(
    finished: Path,
    photos: Path,
    tiny_models: ModelFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    models = ["--models", tiny_models.directory]
    projector = ["adapt", "--domain", "flags", "--out", out, *models, *QUICK]
    done(craft_command(*projector, "--method", "projector_ft"))
    assert (out / "language_model").is_dir()
    old = pack_files(out)
    # A new run that dies in its first step leaves the whole old pack and nothing of its own.
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "step", lambda *_, **__: 1 / 0)
        result = craft_command(*given(photos, tiny_models.directory, out), "--force")
        assert isinstance(result.exception, ZeroDivisionError)
    assert pack_files(out) == old
    evaluate = ["evaluate", out, "--out", tmp_path / "before", *models, *FEW]
    done(craft_command(*evaluate))
    scores = json.loads((tmp_path / "before" / "results.json").read_text())
    assert (scores["domain"], list(scores["models"])) == ("flags", ["qwen2"])
    # A run that finishes replaces it.
    done(craft_command(*given(photos, tiny_models.directory, out), "--force"))
    assert not (out / "language_model").exists()
    assert pack_files(out) == pack_files(finished)
    evaluate = ["evaluate", out, "--out", tmp_path / "after", *models, *FEW]
    done(craft_command(*evaluate))
    scores = json.loads((tmp_path / "after" / "results.json").read_text())
    assert (scores["domain"], list(scores["models"])) == ("things", ["qwen2", "llama"])


def test_a_full_disk_at_the_end_loses_no_training(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = encoder_pack.write_tensors
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))

    def full(path: Path, *more: Any) -> None:
        if path.is_relative_to(out):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, *more)

    monkeypatch.setattr(encoder_pack, "write_tensors", full)
    run = ["adapt", "--domain", "flags", "--models", tiny_models.directory, "--out", out, *QUICK]
    line = one_error_line(craft_command(*run, "--set", "checkpoint.every=0"))
    assert f"{out} could not be written: No space left on device; it needs " in line
    (there,) = elsewhere.iterdir()
    assert line.endswith(f"; the pack is in {there} instead")
    assert EncoderPack.load(there).notes["domain"] == "flags"
    # With a checkpoint, the pack can be made again from it.
    line = one_error_line(craft_command(*run, "--set", "checkpoint.every=1", "--force"))
    assert (
        f"the checkpoint of the last step, 2, is kept in {out}/checkpoints: finish from it with"
        in line
    )
    assert not (out / "pack.json").exists()
