"""Exact, fast codes in transformers' audio codecs and image tokenizers.

from craft.integrations.codecs import patch

handle = patch(model)  # a model that holds one of the quantisers that are known
codes = model.encode(audio).audio_codes
handle.unpatch()
"""

from craft.integrations.codecs.patch import (
    Handle,
    LeftAlone,
    Replaced,
    UnsupportedModelError,
    handle_of,
    patch,
)
from craft.integrations.codecs.replacement import TrainedCodebookError

__all__ = [
    "Handle",
    "LeftAlone",
    "Replaced",
    "TrainedCodebookError",
    "UnsupportedModelError",
    "handle_of",
    "patch",
]
