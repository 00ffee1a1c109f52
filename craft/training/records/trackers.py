"""Copies of a run's numbers in tensorboard, trackio or wandb, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate.tracking import (
    GeneralTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)
from pydantic import BaseModel, ConfigDict

from craft.errors import MissingPackageError
from craft.runtime.json_cards import read_card, read_json_lines
from craft.runtime.stored_files import StoredFileError
from craft.runtime.whole_file import write_json
from craft.settings.training import CraftConfig, LogConfig

#: What a continuation must know of the run: its name and id, and the last step of each tracker.
STATE = "trackers.json"


def require_trackers(config: LogConfig) -> None:
    """Raises ImportError if a tracker's package is missing."""
    for name in config.trackers:
        found = importlib.util.find_spec(name)
        # A folder of that name, as wandb and tensorboard make them, is found too, without origin.
        if found is None or found.origin is None:
            raise MissingPackageError(
                f"log.trackers names {name}, which is not installed; `pip install {name}`, or "
                "leave it out: train.jsonl has the same numbers"
            )


class _State(BaseModel):
    """The state file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    id: str
    sent: dict[str, int]


class Trackers:
    """The trackers of a run, from its first step to its end, successful or not.

    A resumed run goes on in the same tracker runs. What it computes a second time, after the
    checkpoint, is not sent a second time.

    Args:
        config: gives the trackers, the project, and the settings that each of them shows.
        run_dir: of ``train.jsonl``, not yet shortened; tensorboard and wandb write to it.
        resumed: whether the run goes on from a checkpoint.
        main: nothing is tracked where this is false, in all processes but the first.
    """

    def __init__(self, config: CraftConfig, run_dir: Path, *, resumed: bool, main: bool = True):
        self._config = config
        self._directory = run_dir
        self._main = main
        self._names = list(dict.fromkeys(config.log.trackers)) if main else []
        self._resumed = resumed and (run_dir / STATE).is_file()  # else there is nothing to go on
        self._open: list[tuple[GeneralTracker, int]] = []
        self._stack = ExitStack()

    def log(self, values: dict[str, float], step: int) -> None:
        for tracker, sent in self._open:
            if step > sent and values:
                tracker.log(values, step=step)

    def __enter__(self) -> Trackers:
        if self._main and not self._resumed:
            (self._directory / STATE).unlink(missing_ok=True)  # another run's
        if not self._names:
            return self
        state = self._begin()
        with ExitStack() as stack:
            for name in self._names:
                tracker = _STARTS[name](self._config, self._directory, state, self._resumed)
                stack.push(partial(_finish, tracker))
                self._open.append((tracker, state["sent"][name]))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _begin(self) -> dict[str, Any]:
        """The state file, written anew before anything is sent."""
        path = self._directory / STATE
        state: dict[str, Any] = {"name": str(self._directory), "id": uuid.uuid4().hex, "sent": {}}
        known: dict[str, int] = {}
        if self._resumed:
            state = read_card(path, "what trackers were sent", _State).model_dump()
            last = _last_step(self._directory / "train.jsonl")
            known = {name: max(step, last) for name, step in state["sent"].items()}
        state["sent"] = {name: known.get(name, -1) for name in self._names}
        write_json(path, state)
        return state


def _finish(tracker: GeneralTracker, kind: type[BaseException] | None, *_: object) -> None:
    """Ends a tracker's run; in wandb as failed, if the training failed."""
    if kind is not None and isinstance(tracker, WandBTracker):
        tracker.run.finish(exit_code=1)
    else:
        tracker.finish()


def _start_tensorboard(
    config: CraftConfig, run_dir: Path, state: dict[str, Any], resumed: bool
) -> GeneralTracker:
    """Curves and settings in one file of ``tensorboard/``; the tracker's own way to store settings
    makes two folders named by the time, which look like runs."""
    from torch.utils.tensorboard.summary import hparams

    if not resumed:  # what another run left would be drawn into the same curves
        shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)
    tracker = TensorBoardTracker("tensorboard", run_dir)
    tracker.start()
    events = tracker.writer.file_writer
    assert events is not None
    for summary in hparams(_flat(config.model_dump()), {}):
        events.add_summary(summary)
    return tracker


def _start_trackio(
    config: CraftConfig, run_dir: Path, state: dict[str, Any], resumed: bool
) -> GeneralTracker:
    tracker = TrackioTracker(
        config.log.project,
        name=state["name"],
        config=_flat(config.model_dump()),
        resume="allow" if resumed else "never",
    )
    tracker.start()
    return tracker


def _start_wandb(
    config: CraftConfig, run_dir: Path, state: dict[str, Any], resumed: bool
) -> GeneralTracker:
    tracker = WandBTracker(
        config.log.project,
        name=state["name"],
        id=state["id"],
        config=_flat(config.model_dump()),
        dir=os.environ.get("WANDB_DIR", run_dir),
        resume="allow" if resumed else None,
    )
    tracker.start()
    return tracker


_Start = Callable[[CraftConfig, Path, dict[str, Any], bool], GeneralTracker]
_STARTS: dict[str, _Start] = {
    "tensorboard": _start_tensorboard,
    "trackio": _start_trackio,
    "wandb": _start_wandb,
}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by the names that ``--set`` gives them; lists as text, which trackers can show."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = ", ".join(value) if isinstance(value, list) else value
    return flat


def _last_step(lines: Path) -> int:
    """Of all that an earlier process wrote down; a line that was cut off was not sent."""
    steps = [-1]
    if lines.is_file():
        try:
            log = read_json_lines(lines, "the log of a training", foreign=True)
            steps += [int(entry["step"]) for entry in log]
        except (StoredFileError, KeyError, TypeError, ValueError) as error:
            raise StoredFileError(
                f"{lines}, the log of a run, is damaged ({error}), so nobody knows what the "
                f"trackers were sent; delete {lines.with_name(STATE)} to begin anew in them"
            ) from error
    return max(steps)
