"""Named choices and limits of users, shared by the command line and the library.

Nothing heavy is imported here, so that `craft --help` is fast.
"""

from __future__ import annotations

from typing import Literal

#: Largest seed that every generator accepts.
GREATEST_SEED = 2**63 - 1

Selector = Literal["full", "quota_residual", "quota_random", "random"]

#: Data formats.
Format = Literal["llava", "image_folder", "table", "parquet", "hf_disk", "webdataset"]

MethodName = Literal[
    "craft",
    "discrete_ft",
    "vision_ft",
    "ldifs",
    "projector_ft",
    "llm_lora",
    "zero_shot",
]

#: What `craft align` trains on, in this order.
AlignStageName = Literal["captions", "instructions"]

#: Which of the encoder's weights train.
EncoderMode = Literal["full", "lora", "norm_only", "heba", "heba_discrete"]

#: Named sets of settings to start from.
PresetName = Literal["craft", "craft_paper"]

#: How wrong options of test questions are chosen.
Distractors = Literal["random", "hard"]

AttentionName = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"]

#: Precision of an encoder's products; the quantiser's are always float32.
Precision = Literal["fp32", "bf16", "fp16"]
