"""Notices and progress of a call that is running."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

from craft.data.images.pace import EncodingPace
from craft.data.readers import AccountSummary
from craft.settings.training import CraftConfig
from craft.training.result import AdaptationResult
from craft.training.trainee import TrainableTable

log = logging.getLogger(__name__)


class Listener:
    """Logs notices and ignores everything else; override the methods you need."""

    def notice(self, text: str) -> None:
        """Something the caller should know, such as what is not measured or was left out."""
        log.warning("%s", text)

    def reading(self) -> AbstractContextManager[object]:
        """Entered while data is read."""
        return nullcontext()

    def data(self, account: AccountSummary) -> None:
        """What was skipped and what looks wrong in the data that was read."""

    def trains(self, table: TrainableTable) -> None:
        """Which parameters are trained."""

    def begins(self, training: str, step: int, steps: int) -> None:
        """Called before the first step of a training run.

        Args:
            training: "" for an adaptation, or the stage of an alignment.
            step: the step it resumes from, or 0.
        """

    def progress(self, task: str, done: int, total: int) -> None:
        """Progress of a task; first called with what is already done, usually 0."""

    def images_per_step(self, task: str, images: int) -> None:
        """Each unit of progress of ``task`` will stand for ``images`` images."""

    def encoded(self, pace: EncodingPace) -> None:
        """After an examination: how fast images were encoded, by all processes."""

    def adapted(self, result: AdaptationResult, config: CraftConfig, measured: bool) -> None:
        """The result of an adaptation; ``measured`` says whether forgetting was measured for it."""
