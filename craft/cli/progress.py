"""Progress with rate, time left and memory: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from craft.runtime.memory import memory_in_use
from craft.runtime.plain_text import on_one_line

#: Seconds after which a task leaves a line when it is finished.
WORTH_A_LINE = 1.0
#: Seconds between two lines of a log: a share of the time the task has taken, within bounds.
SHORTEST, LONGEST, SHARE = 10.0, 300.0, 1 / 20


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        shown = "" if not speed else _rate(speed, task.fields["images"])
        return Text(shown, style="progress.data.speed")


class _MemoryColumn(ProgressColumn):
    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        return Text(_memory(), style="dim")


@dataclass
class _Running:
    """A running task: its bar, when and at which count it began, and when its last line was."""

    number: TaskID
    started: float
    first: int
    told: float


class ProgressDisplay:
    """Context manager to call with (task, done, total).

    A task that took a second or more leaves a line when it is finished.

    Announce a task before its work begins, with what is already done, usually 0. If its first
    report comes later, the task counts as started when the previous one ended.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console = console
        self._clock = clock
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            _MemoryColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, _Running] = {}
        self._images: dict[str, int] = {}
        self._idle_since = clock()

    def __enter__(self) -> ProgressDisplay:
        self._idle_since = self._clock()
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def count_images(self, task: str, each: int) -> None:
        """Show the rate of ``task`` in images; each unit of its progress is ``each`` images."""
        self._images[task] = each

    def __call__(self, task: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` units of ``task`` are done."""
        images = self._images.get(task, 0)
        now = self._clock()
        if task not in self._tasks:
            self._begin(task, done, total, images, now)
        running = self._tasks[task]
        self._progress.update(running.number, completed=done)
        seconds = now - running.started
        if done >= total:
            self._progress.remove_task(running.number)
            del self._tasks[task]
            self._idle_since = now
            if seconds >= WORTH_A_LINE:
                self._tell(
                    f"{task}: {total} in {seconds:.1f} s{_average(running, total, images, now)}"
                )
            return
        wait = min(LONGEST, max(SHORTEST, seconds * SHARE))
        if self._console.is_terminal or done == running.first or now - running.told < wait:
            return
        running.told = now
        rate = (done - running.first) / seconds
        self._tell(
            f"{task}: {done} of {total} ({done / total:.0%}), {_rate(rate, images)}, "
            f"{_duration((total - done) / rate)} left, {_memory()}"
        )

    def _begin(self, task: str, done: int, total: int, images: int, now: float) -> None:
        started = self._idle_since if done else now
        number = self._progress.add_task(on_one_line(task), total=total, images=images)
        self._tasks[task] = _Running(number, started, done, started)

    def _tell(self, line: str) -> None:
        shown = on_one_line(line)
        self._console.print(shown, style="dim", highlight=False, markup=False, soft_wrap=True)


def _average(running: _Running, total: int, images: int, now: float) -> str:
    seconds = now - running.started
    if not images or seconds <= 0 or total <= running.first:
        return ""
    return f", {_rate((total - running.first) / seconds, images)}, {_memory()}"


def _rate(per_second: float, images: int) -> str:
    if images:
        return f"{per_second * images:.0f} images/s"
    return f"{per_second:.1f}/s" if per_second >= 0.1 else f"{1 / per_second:.0f} s each"


def _memory() -> str:
    return f"{memory_in_use() / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
