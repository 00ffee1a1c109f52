"""Progress: a bar with rate, time left and memory on a terminal; plain lines elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console

from craft.cli.progress import ProgressDisplay


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def on_a_terminal() -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with ProgressDisplay(console) as progress:
        for done in range(1, 4):
            progress("adapting", done, 3)
            if done == 2:
                progress._progress.refresh()
        progress("evaluating", 1, 1)
    return file.getvalue()


def logged(steps: int, seconds_each: float, first: int = 0, images: int = 0) -> list[str]:
    """Lines in the log file of a task of this duration."""
    clock, file = Clock(), io.StringIO()
    with ProgressDisplay(Console(file=file, width=60), clock) as progress:
        if images:
            progress.count_images("adapting", images)
        progress("adapting", first, steps)
        for step in range(first + 1, steps + 1):
            clock.now += seconds_each
            progress("adapting", step, steps)
    return file.getvalue().splitlines()


def test_a_log_file_gets_one_line_per_finished_task() -> None:
    assert logged(3, 2.0) == ["adapting: 3 in 6.0 s"]


def test_what_took_no_time_leaves_no_line() -> None:
    assert logged(3, 0.1) == []


def test_a_terminal_sees_counts_rate_time_left_and_memory() -> None:
    shown = on_a_terminal()
    assert "2/3" in shown
    assert re.search(r"\d+\.\d/s", shown)
    assert re.search(r"\d\d:\d\d", shown)
    assert re.search(r"\d\.\d GiB", shown)


def test_a_long_task_tells_a_log_file_how_far_it_is() -> None:
    lines = logged(60, 1.0, images=32)
    assert len(lines) == 6
    assert re.fullmatch(
        r"adapting: 10 of 60 \(17%\), 32 images/s, 50 s left, \d+\.\d GiB", lines[0]
    )
    assert re.fullmatch(r"adapting: 60 in 60\.0 s, 32 images/s, \d+\.\d GiB", lines[-1])
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", "".join(lines))


def test_a_day_is_no_flood_of_lines_and_has_no_long_silence() -> None:
    lines = logged(24 * 60, 60.0)
    assert 24 * 12 <= len(lines) <= 400
    assert re.search(r"\d+ h \d+ min left", lines[5])


def test_slow_work_is_told_in_seconds_each() -> None:
    assert logged(10, 12.0)[0].startswith("adapting: 1 of 10 (10%), 12 s each, 1 min 48 s left")


def test_a_resumed_task_counts_only_what_it_did() -> None:
    lines = logged(100, 1.0, first=80, images=10)
    assert lines[0].startswith("adapting: 90 of 100 (90%), 10 images/s, 10 s left")
    assert lines[-1].startswith("adapting: 100 in 20.0 s, 10 images/s")


def test_the_clock_starts_with_the_work() -> None:
    clock, file = Clock(), io.StringIO()
    with ProgressDisplay(Console(file=file, width=60), clock) as progress:
        clock.now = 3.0  # the only batch of an unannounced task
        progress("answering", 480, 480)
        clock.now = 5.0
        progress("saving", 0, 1)
        clock.now = 6.5
        progress("saving", 1, 1)
    assert file.getvalue().splitlines() == ["answering: 480 in 3.0 s", "saving: 1 in 1.5 s"]


def test_names_are_no_markup() -> None:
    file = io.StringIO()
    clock = Clock()
    with ProgressDisplay(Console(file=file, width=60), clock) as progress:
        clock.now = 2.0
        progress("photos [bold]: adapting", 1, 1)
    assert file.getvalue().startswith("photos [bold]: adapting: 1 in")
