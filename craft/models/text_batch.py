"""Token batches of questions and answers, for training and for answering."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from craft.errors import CraftError

IGNORE = -100


@dataclass(frozen=True)
class TextBatch:
    """Token ids [B, T] with their attention mask; ``labels`` is -100 outside the answers."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor | None = None

    def to(self, device: torch.device) -> TextBatch:
        """The same batch on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return TextBatch(self.input_ids.to(device), self.attention_mask.to(device), labels)

    @property
    def first_answers(self) -> Tensor:
        """Index [B] of each row's first answer token among all answer tokens of the batch.

        Raises:
            CraftError: the batch has no labels.
        """
        if self.labels is None:
            raise CraftError("the batch has no labels: build it with training_batch")
        lengths = (self.labels != IGNORE).sum(1)
        return lengths.cumsum(0) - lengths


def training_batch(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], answers: list[str]
) -> TextBatch:
    """Prompt, answer and end token, padded on the right; only answer and end token are labels."""
    asked = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    given = tokenizer(answers, add_special_tokens=False)["input_ids"]
    rows = [q + a + [tokenizer.eos_token_id] for q, a in zip(asked, given, strict=True)]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), _pad(tokenizer))
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORE)
    for i, (row, question) in enumerate(zip(rows, asked, strict=True)):
        tokens = torch.tensor(row)
        ids[i, : len(row)] = tokens
        mask[i, : len(row)] = 1
        labels[i, len(question) : len(row)] = tokens[len(question) :]
    return TextBatch(ids, mask, labels)


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    if not isinstance(tokenizer.pad_token_id, int):
        raise CraftError("the tokenizer has no pad token; set tokenizer.pad_token, such as to eos")
    return tokenizer.pad_token_id


def prompt_batch(tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> TextBatch:
    """Prompts padded on the left, ready to be continued."""
    rows = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), _pad(tokenizer))
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return TextBatch(ids, mask)
