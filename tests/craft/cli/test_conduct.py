"""Commands refuse early what cannot work, replace nothing unasked, and name the way out."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from craft.data.domains import user_data
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from tests.craft.cli.commands import FEW, QUICK, craft_command, done, one_error_line

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Limit the size of files inside a block, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--surrogate", "qwen"], "surrogate must be one of qwen2, llama"),
        (["--set", "validation_images=2"], "needs at least 3"),
        (["--set", "batch=5", "--set", "hardware.accumulate=2"], "make it a multiple of 2"),
        (["--set", "method=align"], "did you mean `craft align`"),
        (["--method", "vision_ft", "--set", "lambda_con=1"], "--set lambda_con=1 has no effect"),
        (["--hub-id", "a/b"], "--hub-id belongs to --dataset"),
        (["--distractors", "hard", "--option-file", "x"], "both choose wrong options"),
        (["--method", "crafty"], "did you mean 'craft'?"),
    ],
)
def test_adapt_refuses_before_it_reads_data(
    arguments: list[str],
    complaint: str,
    class_folder: Path,
    tiny_models: ModelFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the data was read first")

    monkeypatch.setattr(user_data.DataRequest, "read", read)
    # The bundled models' general world.
    monkeypatch.setattr(ModelFamily, "retention", "pocket")
    out = tmp_path / "out"
    given = ["adapt", "--out", out, "--data", class_folder, "--models", tiny_models.directory]
    assert complaint in one_error_line(craft_command(*given, *arguments))
    assert not out.exists()


@pytest.mark.parametrize("command", ["adapt", "demo", "evaluate", "transfer", "pictures"])
def test_an_out_that_is_a_file_is_refused_before_anything(command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    more = {"adapt": ["--domain", "flags"], "demo": []}.get(command, ["a-pack"])
    assert "is a file; name a directory" in one_error_line(
        craft_command(command, "--out", out, *more)
    )
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--keep-ratio", "0"], "keep_ratio must be in (0, 1], got 0.0"),
        (["--selector", "random"], "selector random has no effect while all tokens are kept"),
        (["--seed", "3", "--keep-ratio", "0.5"], "seed 3 has no effect"),
        (["--llm", "lama"], "did you mean 'llama'?"),
        (["--selector", "full_"], "did you mean 'full'?"),
        (["--kep-ratio", "1"], "did you mean '--keep-ratio'?"),
        (["--domain", "flag"], "did you mean 'flags'?"),
    ],
)
def test_evaluate_refuses_before_it_opens_the_pack(
    arguments: list[str], complaint: str, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    line = one_error_line(
        craft_command(
            "evaluate",
            tmp_path / "no-pack",
            "--out",
            tmp_path / "s",
            "--models",
            tiny_models.directory,
            *arguments,
        )
    )
    assert complaint in line


def test_adapt_replaces_no_pack_and_no_checkpoint_unasked(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    given = ["adapt", "--out", out, "--data", class_folder, "--models", tiny_models.directory]
    done(craft_command(*given, *QUICK, "--set", "checkpoint.every=1"))
    before = contents(out)
    other = [*QUICK, "--set", "checkpoint.every=1", "--set", "seed=5"]
    assert "an earlier run of `craft adapt`" in one_error_line(craft_command(*given, *other))
    assert contents(out) == before
    # Resuming with other settings or other data is refused, and changes nothing either.
    resume = ["--resume", "auto"]
    assert "other settings" in one_error_line(craft_command(*given, *other, *resume))
    assert contents(out) == before
    shutil.rmtree(class_folder / "thing_aa")
    line = one_error_line(craft_command(*given, *QUICK, "--set", "checkpoint.every=1", *resume))
    assert "belongs to another run: not the same " in line
    assert "content in domain.json" in line
    assert contents(out) == before
    done(craft_command(*given, *other, "--force"))
    assert contents(out)["pack.json"] != before["pack.json"]


def test_resuming_a_finished_run_without_checkpoints_does_not_train_again(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    given = ["adapt", "--out", out, "--domain", "flags", "--models", tiny_models.directory, *QUICK]
    given += ["--set", "checkpoint.every=0"]
    done(craft_command(*given))
    before = contents(out)
    assert "no checkpoint to resume from" in one_error_line(
        craft_command(*given, "--resume", "auto")
    )
    assert contents(out) == before


def test_evaluating_into_the_pack_leaves_its_notes(
    tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "pack"
    shutil.copytree(pack, mine)
    before = contents(mine)
    models = ["--models", tiny_models.directory]
    line = one_error_line(craft_command("evaluate", mine, "--out", mine, *models, *FEW))
    assert "holds what `craft adapt` wrote" in line
    assert "has a prior already" in one_error_line(craft_command("prior", mine, *models))
    assert contents(mine) == before


def test_exported_tasks_are_replaced_only_if_asked(
    tiny_models: ModelFamily, pack: Path, tmp_path: Path
) -> None:
    given = ["export", pack, "--out", tmp_path, "--to", "vlmevalkit"]
    given += ["--models", tiny_models.directory]
    done(craft_command(*given))
    (task,) = tmp_path.glob("*.tsv")
    task.write_text("corrected by hand")
    assert "exists; choose another file" in one_error_line(craft_command(*given))
    assert task.read_text() == "corrected by hand"
    done(craft_command(*given, "--force"))
    assert task.read_text() != "corrected by hand"


def test_a_full_disk_after_training_keeps_the_checkpoint_and_says_where(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pack"
    given = ["adapt", "--out", out, "--domain", "flags", "--models", tiny_models.directory, *QUICK]
    given += ["--set", "checkpoint.every=1"]
    whole = EncoderPack.save
    with monkeypatch.context() as patch:

        def save(pack: EncoderPack, *where: Any) -> Path:
            with files_up_to(10_000):
                return whole(pack, *where)

        patch.setattr(EncoderPack, "save", save)
        line = one_error_line(craft_command(*given))
    assert f"{out}/encoder.safetensors could not be written: File too large; it needs" in line
    assert (
        f"the checkpoint of the last step, 2, is kept in {out}/checkpoints: finish from it with"
        in line
    )
    assert not (out / "pack.json").exists()
    done(craft_command(*given, "--resume", "auto"))
    assert EncoderPack.load(out).notes["config"]["steps"] == 2


def test_too_little_room_is_said_before_training(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("craft.runtime.whole_file.room", lambda path: 10)
    given = ["adapt", "--out", tmp_path / "pack", "--domain", "flags"]
    line = one_error_line(craft_command(*given, "--models", tiny_models.directory, *QUICK))
    assert "the encoder pack in" in line
    assert "10 bytes are free there" in line
    assert not (tmp_path / "pack").exists()


def test_steps_that_a_user_sets_are_the_steps_of_the_run(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    """This includes a preset that counts epochs, with a floor of a thousand steps."""
    out = tmp_path / "pack"
    given = ["adapt", "--out", out, "--domain", "flags", "--models", tiny_models.directory]
    done(craft_command(*given, "--preset", "craft_paper", *QUICK))
    lines = (out / "train.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["adpt"], "Did you mean 'adapt'?"),
        (["data", "chekc", "x"], "Did you mean 'check', 'cache'?"),
        (["adapt", "--domain", "flags"], "Missing option '--out'"),
        (["tokenize", "x", "--pack", "p", "--out", "o", "--workers", "3"], "belongs to --ray"),
    ],
)
def test_a_command_line_that_is_not_understood_is_one_line(
    arguments: list[str], complaint: str
) -> None:
    assert complaint in one_error_line(craft_command(*arguments))
