"""What callers are told while a call works."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

from craft.data.images.pace import EncodingPace
from craft.data.readers import AccountSummary
from craft.settings.training import CraftConfig
from craft.training.adapt import AdaptationResult
from craft.training.trainee import TrainableTable

log = logging.getLogger(__name__)


class Listener:
    """Writes notices to the log and ignores everything else; override what you want to hear."""

    def notice(self, text: str) -> None:
        """Something the caller should know: what is not measured, what was left out."""
        log.warning("%s", text)

    def reading(self) -> AbstractContextManager[object]:
        """Entered while data is read."""
        return nullcontext()

    def data(self, account: AccountSummary) -> None:
        """What was skipped and what looks wrong in data that was read."""

    def trains(self, table: TrainableTable) -> None:
        """What a training trains."""

    def begins(self, training: str, step: int, steps: int) -> None:
        """Before the first step of a training: the step it resumes from, or 0.

        Args:
            training: "" for an adaptation, the stage of an alignment.
        """

    def progress(self, task: str, done: int, total: int) -> None:
        """How far a task is; first with what is done before it begins, usually 0."""

    def images_per_step(self, task: str, images: int) -> None:
        """Each count of ``task`` will stand for so many images."""

    def encoded(self, pace: EncodingPace) -> None:
        """After an examination: how fast images were encoded, by all processes."""

    def adapted(self, result: AdaptationResult, config: CraftConfig, measured: bool) -> None:
        """What an adaptation came to, and whether forgetting could hold its weights back."""
