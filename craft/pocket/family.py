"""The models that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

#: Language models in the order of the results.
FAMILIES = ("qwen2", "llama", "phi")
#: What the family's manifest calls the probe of :mod:`craft.pocket.retention`.
RETENTION = "pocket"


def directory() -> Path:
    """Where the models are; the entry point ``default`` of the group ``craft.families``."""
    return Path(str(files("craft.pocket") / "weights"))
