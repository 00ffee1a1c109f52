"""Choice of the attention kernel: the requested one, or SDPA if that is not installed."""

from __future__ import annotations

import logging
from typing import get_args

from transformers.utils import import_utils

from craft.errors import CraftError
from craft.settings.choices import AttentionName

log = logging.getLogger(__name__)


def available_attention(name: str | None) -> str:
    """``name`` if it can run here, else "sdpa" with a warning in the log; None means "sdpa".

    Raises:
        CraftError: no such attention.
    """
    if name is None:
        return "sdpa"
    if name not in get_args(AttentionName):
        raise CraftError(f"attention must be one of {get_args(AttentionName)}, got {name!r}")
    found = {
        "flash_attention_2": import_utils.is_flash_attn_2_available,
        "flash_attention_3": import_utils.is_flash_attn_3_available,
    }.get(name)
    if found is None or found():
        return name
    log.warning(
        "%s was requested but cannot run here (it needs its package and a CUDA device); "
        "using sdpa instead",
        name,
    )
    return "sdpa"
