"""What measures forgetting: the user's general data, or what the models' directory names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from craft.evaluation.retention import RetentionProbe
    from craft.family.family import ModelFamily

NOT_MEASURED = (
    "forgetting is not measured: these models name no general data; give some with --general"
)


def retention_probe(
    family: ModelFamily, general: Path | None = None, readers: Sequence[str] = ()
) -> RetentionProbe | None:
    """The probe of ``general``, else of the family; None if neither names any.

    Args:
        general: data in any format that `craft data check` understands.
        readers: language models that will answer it.

    Raises:
        DataError, CraftError: the data cannot be read, or has words that a reader does not know;
            the models name data that does not lie with them.
    """
    from craft.data.domains.user_data import DataRequest
    from craft.evaluation.retention import DomainProbe
    from craft.pocket.family import RETENTION
    from craft.pocket.retention import PocketProbe
    from craft.runtime.inside import inside
    from craft.workbench.domains import new_domain

    if general is None:
        named = family.retention
        if named is None:
            return None
        if named == RETENTION:
            return PocketProbe()
        general = inside(family.directory, named, "the manifest of the models")
    return DomainProbe(new_domain(DataRequest(general), family, readers=readers)[0])
