"""The default retention probe: the pocket world's, for the models that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from craft.evaluation.retention import RetentionProbe
    from craft.family.family import ModelFamily


def general_data(family: ModelFamily, general: Path | None) -> RetentionProbe | Path | None:
    """The user's data, or the pocket world's probe if the models' manifest names it."""
    from craft.pocket.family import RETENTION
    from craft.pocket.retention import PocketProbe

    if general is None and family.retention == RETENTION:
        return PocketProbe()
    return general
