"""Which questions, and how many, a language model is asked in one batch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from craft.data.questions import Question
from craft.evaluation.visual_tokens import Visual
from craft.models.aligned_language_model import AlignedLanguageModel

#: Upper limit, however small the model.
MOST = 128
#: Most bytes that a batch's keys and values may take, with :data:`TEXT` tokens of question and
#: answer.
CACHE_BYTES, TEXT = 2 << 30, 128


def questions_together(language_model: AlignedLanguageModel, shown: int) -> int:
    """As many questions as have keys and values that fit into :data:`CACHE_BYTES`, at least one.

    The number depends only on the model, not on the device: the rounding of answers depends on
    their batch, and answers should be the same on every machine. For a 7B model with 256 visual
    tokens in bfloat16 it is 10.

    Args:
        shown: visual tokens per image.
    """
    model = language_model.language_model
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return max(1, min(MOST, CACHE_BYTES // (per_token * (shown + TEXT))))


def by_window(visual: Visual, questions: Sequence[Question]) -> list[list[int]]:
    """Numbers of the questions about the images of each window of ``visual``, in order.

    Plain features are made again for every window, so that questions should be asked window by
    window.
    """
    windows = visual.windows
    starts = [window.start for window in windows]
    members: list[list[int]] = [[] for _ in windows]
    for number, question in enumerate(questions):
        members[bisect_right(starts, question.row) - 1].append(number)
    return members


def shared_parts(windows: list[list[list[int]]], processes: int) -> list[list[list[int]]]:
    """Divide batches of questions among processes; each part is for one process.

    Args:
        windows: the batches of each window.

    Returns:
        Lists of batches: whole windows if there are enough of them for all processes, so that each
        window is made by one process only; otherwise single batches.
    """
    windows = [window for window in windows if window]
    if len(windows) >= processes > 1:
        return windows
    return [[chosen] for window in windows for chosen in window]
