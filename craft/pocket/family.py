"""The models that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

#: Language models, in the order in which results list them.
FAMILIES = ("qwen2", "llama", "phi")
#: Name in the family's manifest of the probe of :mod:`craft.pocket.retention`.
RETENTION = "pocket"


def directory() -> Path:
    """Directory of the models; the entry point ``default`` of the group ``craft.families``."""
    return Path(str(files("craft.pocket") / "weights"))
