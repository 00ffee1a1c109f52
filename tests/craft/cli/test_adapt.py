"""What ``craft adapt`` reports: whether it helped, what to type next, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from craft.family.family import ModelFamily
from craft.training.training_run import TrainingRun
from tests.craft.cli.commands import QUICK, craft_command, done, one_error_line

pytestmark = pytest.mark.usefixtures("quiet_process", "small_world")


def adapt(models: ModelFamily, out: Path, *more: object) -> list[object]:
    return ["adapt", "--domain", "flags", "--out", out, "--models", models.directory, *QUICK, *more]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command with Ctrl-C pressed in the second step."""
    step = TrainingRun.step

    def interrupted(self: TrainingRun, first: bool = False) -> Any:
        if self.schedule.last_epoch == 1:
            raise KeyboardInterrupt
        return step(self, first)

    monkeypatch.setattr(TrainingRun, "step", interrupted)


def test_it_says_what_was_gained_and_what_to_type_next(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "my pack"
    said = done(craft_command(*adapt(tiny_models, out)))
    found = re.search(
        r"read by qwen2: (\d+\.\d) % right before, (\d+\.\d) % after, [+-]\d+\.\d points "
        r"\(95 % interval [+-]\d+\.\d to [+-]\d+\.\d, n = \d+ images",
        said,
    )
    assert found is not None
    log = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    (before,) = [x["validation"]["domain"] for x in log if x["step"] == 0 and "validation" in x]
    assert float(found[1]) == pytest.approx(before, abs=0.06)
    (line,) = re.findall(r"next: (craft evaluate .*)$", said)
    _, *arguments = shlex.split(line)
    done(craft_command(*arguments, "--test-limit", 4, "--general-images", 3))
    assert (tmp_path / "my pack-scores" / "results.json").is_file()


def test_nothing_gained_is_said(tiny_models: ModelFamily, tmp_path: Path) -> None:
    # A learning rate so small that no answer changes by more than rounding.
    said = done(craft_command(*adapt(tiny_models, tmp_path / "p", "--set", "lr=2e-7")))
    assert "0% of the way from the pretrained weights" in said
    assert "nothing was gained: no mixture with the adapted weights" in said
    assert "--set lr=..." in said


@pytest.mark.usefixtures("stopped")
def test_ctrl_c_says_what_was_kept_and_the_line_that_resumes(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    every = ["--set", "checkpoint.every=1"]
    result = craft_command(*adapt(tiny_models, out, *every, "--resume", "never"))
    assert result.exit_code == 130
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("interrupted: ")]
    assert f"kept the checkpoint of step 1, {out}/checkpoints/step-00000001" in line
    again = shlex.split(line.split("to resume there: ")[1])
    assert again[-2:] == ["--resume", "auto"]
    assert again.count("--resume") == 1
    monkeypatch.undo()  # nobody presses anything now, but the process stays quiet
    said = done(craft_command(*again[1:]))
    assert f"resuming at step 2 of 2, from {out}/checkpoints/step-00000001" in said


@pytest.mark.usefixtures("stopped")
def test_ctrl_c_before_a_checkpoint_says_that_nothing_is_kept(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = craft_command(*adapt(tiny_models, tmp_path / "p"))
    assert result.exit_code == 130
    assert "nothing is kept: the first checkpoint would be written after 100 steps" in result.stderr
    assert not (tmp_path / "p" / "pack.json").exists()
    again = shlex.split(result.stderr.split("to start again: ")[1])
    monkeypatch.undo()
    assert "starting at step 1 of 2" in done(craft_command(*again[1:]))


def test_resuming_says_when_there_is_nothing_or_all_is_done(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    said = done(craft_command(*adapt(tiny_models, out, "--resume", "auto")))
    assert f"nothing to resume in {out}/checkpoints; starting at step 1 of 2" in said
    said = done(craft_command(*adapt(tiny_models, out, "--resume", "auto")))
    assert f"all 2 steps are done in {out}/checkpoints/step-00000002" in said


def test_a_pack_in_another_family_is_refused_with_the_option(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    done(craft_command(*adapt(tiny_models, out)))
    evaluate = ["evaluate", out, "--out", tmp_path / "scores"]
    line = one_error_line(craft_command(*evaluate))
    assert f"it was made with --models {tiny_models.directory.resolve()}" in line
    moved = shutil.copytree(tiny_models.directory, tmp_path / "moved")
    done(craft_command(*evaluate, "--models", moved, "--test-limit", 4, "--general-images", 3))


def test_every_phase_has_a_name_in_a_log(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        "craft.cli.progress.ProgressDisplay.__call__", lambda _, *phase: seen.append(phase)
    )
    done(craft_command(*adapt(tiny_models, tmp_path / "p")))
    assert list(dict.fromkeys(name for name, *_ in seen)) == [
        "flags: encoding the validation images",
        "flags: validating the pretrained encoder",
        "flags: adapting with qwen2",
        "flags: mixing with the pretrained weights",
        "flags: counting the token prior",
        "flags: saving the pack",
    ]
    first = {name: done for name, done, _ in reversed(seen)}
    assert set(first.values()) == {0}
