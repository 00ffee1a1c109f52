"""What users choose from by name, for the command line and the library alike.

Nothing is imported here, so that `craft --help` answers at once.
"""

from __future__ import annotations

from typing import Literal

Selector = Literal["full", "quota_residual", "quota_random", "random"]

#: Formats of data.
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

#: What `craft align` learns from, in this order.
AlignStageName = Literal["captions", "instructions"]

#: Which of the encoder's weights train.
EncoderMode = Literal["full", "lora", "norm_only", "heba", "heba_discrete"]

#: Settings to begin with.
PresetName = Literal["craft", "craft_paper"]

#: Wrong options of test questions.
Distractors = Literal["random", "hard"]

AttentionName = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"]

#: Precision of an encoder's products; those of its quantiser are always float32.
Precision = Literal["fp32", "bf16", "fp16"]
