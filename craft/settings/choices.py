"""What users choose from by name, for the command line and the library alike.

Nothing is imported here, so that `craft --help` answers at once.
"""

from __future__ import annotations

from typing import Literal

Selector = Literal["full", "quota_residual", "quota_random", "random"]


MethodName = Literal[
    "craft",
    "discrete_ft",
    "vision_ft",
    "ldifs",
    "projector_ft",
    "llm_lora",
    "align_projector",
    "align",
    "zero_shot",
]


AttentionName = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"]

#: Precision of an encoder's products; those of its quantiser are always float32.
Precision = Literal["fp32", "bf16", "fp16"]
