"""Print notices and progress of a running call on the console."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from rich.console import Console

from craft.cli.data_check import print_account
from craft.cli.next_steps import resuming
from craft.cli.progress import ProgressDisplay
from craft.data.images.pace import EncodingPace
from craft.data.readers import AccountSummary
from craft.report.adaptation import adaptation_lines
from craft.runtime.rank import is_main_process
from craft.settings.training import CraftConfig
from craft.training.admission import CHECKPOINTS
from craft.training.result import AdaptationResult
from craft.training.trainee import TrainableTable
from craft.workbench.listener import Listener


class ConsoleListener(Listener):
    """Prints notices and shows progress; use it as a context manager around the call.

    Of several processes, only the first prints.

    Args:
        resumed: directory of the run if it is to be resumed, to say from which step.
        surrogate: language model of an adaptation, named with its results.
    """

    def __init__(self, console: Console, resumed: Path | None = None, surrogate: str = ""):
        self._console = console
        self._resumed = resumed
        self._surrogate = surrogate
        self._display = ProgressDisplay(console)
        self._stack = ExitStack()
        self._shown = False
        console.quiet = not is_main_process()

    def __enter__(self) -> ConsoleListener:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    def notice(self, text: str) -> None:
        self._say(text, "yellow")

    def reading(self) -> AbstractContextManager[object]:
        return self._console.status("reading the data")

    def data(self, account: AccountSummary) -> None:
        print_account(self._console, account, limit=1)

    def trains(self, table: TrainableTable) -> None:
        self._say(str(table))

    def begins(self, training: str, step: int, steps: int) -> None:
        if self._resumed is not None:
            said = resuming(self._resumed / training / CHECKPOINTS, step, steps)
            self._say(f"{training}: {said}" if training else said)

    def progress(self, task: str, done: int, total: int) -> None:
        if not self._shown:
            self._stack.enter_context(self._display)
            self._shown = True
        self._display(task, done, total)

    def images_per_step(self, task: str, images: int) -> None:
        self._display.count_images(task, images)

    def encoded(self, pace: EncodingPace) -> None:
        if pace.images:
            self._say(f"{pace.images} images encoded: {pace}")

    def adapted(self, result: AdaptationResult, config: CraftConfig, measured: bool) -> None:
        for line in adaptation_lines(result, config, self._surrogate, measured):
            self._say(line)
