"""Log a run's numbers to tensorboard, trackio or wandb through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
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
from craft.settings.training import LogConfig

#: What a resumed run must know: the run's name and id, and the last step sent to each tracker.
STATE = "trackers.json"


def require_trackers(config: LogConfig) -> None:
    """Raise ImportError if a tracker's package is missing."""
    for name in config.trackers:
        found = importlib.util.find_spec(name)
        # A folder of that name, such as wandb and tensorboard create, is found too, with no origin.
        if found is None or found.origin is None:
            raise MissingPackageError(
                f"log.trackers names {name}, which is not installed; `pip install {name}`, or "
                "remove it: train.jsonl has the same numbers"
            )


class _State(BaseModel):
    """Contents of the state file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    id: str
    sent: dict[str, int]


class Trackers:
    """The trackers of a run, from its first step to its end, successful or not.

    A resumed run continues the same tracker runs; steps that it repeats after the checkpoint are
    not sent again.

    Args:
        config: which trackers, and the project.
        settings: of the training, shown by each tracker.
        run_dir: holds ``train.jsonl``, not yet truncated; tensorboard and wandb write here.
        resumed: whether the run resumes from a checkpoint.
        main: whether this is the first process; the others track nothing.
    """

    def __init__(
        self,
        config: LogConfig,
        settings: dict[str, Any],
        run_dir: Path,
        *,
        resumed: bool,
        main: bool = True,
    ):
        self._project = config.project
        self._settings = _flat(settings)
        self._directory = run_dir
        self._main = main
        self._names = list(dict.fromkeys(config.trackers)) if main else []
        self._resumed = resumed and (run_dir / STATE).is_file()  # else nothing to continue
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
                start = _Start(self._project, self._settings, self._directory, state, self._resumed)
                tracker = _STARTS[name](start)
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
        """Rewrite the state file before anything is sent, and return its contents."""
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
    """End a tracker's run; if the training failed, wandb's run is marked as failed."""
    if kind is not None and isinstance(tracker, WandBTracker):
        tracker.run.finish(exit_code=1)
    else:
        tracker.finish()


@dataclass(frozen=True)
class _Start:
    """What a tracker starts with."""

    project: str
    settings: dict[str, Any]
    run_dir: Path
    state: dict[str, Any]
    resumed: bool


def _start_tensorboard(start: _Start) -> GeneralTracker:
    """Write curves and settings to one file in ``tensorboard/``; the tracker's own way of storing
    settings creates two folders named by the time, which look like runs."""
    from torch.utils.tensorboard.summary import hparams

    if not start.resumed:  # another run's files would be drawn into the same curves
        shutil.rmtree(start.run_dir / "tensorboard", ignore_errors=True)
    tracker = TensorBoardTracker("tensorboard", start.run_dir)
    tracker.start()
    events = tracker.writer.file_writer
    assert events is not None
    for summary in hparams(start.settings, {}):
        events.add_summary(summary)
    return tracker


def _start_trackio(start: _Start) -> GeneralTracker:
    tracker = TrackioTracker(
        start.project,
        name=start.state["name"],
        config=start.settings,
        resume="allow" if start.resumed else "never",
    )
    tracker.start()
    return tracker


def _start_wandb(start: _Start) -> GeneralTracker:
    tracker = WandBTracker(
        start.project,
        name=start.state["name"],
        id=start.state["id"],
        config=start.settings,
        dir=os.environ.get("WANDB_DIR", start.run_dir),
        resume="allow" if start.resumed else None,
    )
    tracker.start()
    return tracker


_STARTS: dict[str, Callable[[_Start], GeneralTracker]] = {
    "tensorboard": _start_tensorboard,
    "trackio": _start_trackio,
    "wandb": _start_wandb,
}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings under the names ``--set`` uses; lists as text, which trackers can show."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = ", ".join(value) if isinstance(value, list) else value
    return flat


def _last_step(lines: Path) -> int:
    """Last step that an earlier process logged; a truncated line was not sent."""
    steps = [-1]
    if lines.is_file():
        try:
            log = read_json_lines(lines, "the log of a training", foreign=True)
            steps += [int(entry["step"]) for entry in log]
        except (StoredFileError, KeyError, TypeError, ValueError) as error:
            raise StoredFileError(
                f"{lines}, the log of a run, is damaged ({error}), so what the trackers were sent "
                f"is unknown; delete {lines.with_name(STATE)} to start new tracker runs"
            ) from error
    return max(steps)
