"""Progress: a bar with rate and time left on a terminal, a line a task elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console

from craft.cli.progress import ProgressDisplay


def run(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with ProgressDisplay(console) as progress:
        for done in range(1, 4):
            progress("adapting", done, 3)
            if done == 2:
                progress._progress.refresh()
        progress("evaluating", 1, 1)
    return file.getvalue()


def test_a_log_file_gets_one_line_a_finished_task() -> None:
    lines = run(terminal=False).splitlines()
    assert [line.split(" in ")[0] for line in lines if line] == ["adapting: 3", "evaluating: 1"]


def test_a_terminal_sees_counts_rate_and_time_left() -> None:
    shown = run(terminal=True)
    assert "2/3" in shown
    assert re.search(r"\d+\.\d/s", shown)
    assert re.search(r"\d\d:\d\d", shown)
