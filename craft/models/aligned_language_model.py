"""A language model that reads visual codes: projector, then image tokens before the question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from craft.errors import CraftError
from craft.models.projector import Projector
from craft.models.prompt_template import PromptTemplate
from craft.models.sequence import embed_prefix, image_then_text
from craft.models.text_batch import IGNORE, TextBatch, prompt_batch, training_batch

CARD = "craft.json"
_PROJECTOR = "projector.safetensors"
# Beside a model's config.json, AutoTokenizer goes by the model type and would rebuild a tokenizer
# of another kind as that family's own.
_TOKENIZER = "tokenizer"


class AlignedLanguageModel(nn.Module):
    """Projector and causal language model, aligned to one codebook and frozen ever after.

    What several language models that read one tower's codes have of their own. With a tower they
    are a :class:`~craft.models.discrete_lvlm.DiscreteLVLM`.

    Args:
        language_model: any transformers causal language model.
        projector: maps codebook features [..., D] to the model's embeddings.
        tokenizer: the model's own.
        codebook_fingerprint: of the codebook the pair was aligned to.
        name: how tables call it.
        template: the words around image and question that the model was trained with.
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        projector: Projector,
        tokenizer: PreTrainedTokenizerBase,
        codebook_fingerprint: str,
        name: str,
        template: PromptTemplate | None = None,
    ):
        super().__init__()
        # Any: the generated types of transformers do not know what a causal language model has.
        self.language_model: Any = language_model
        self.projector = projector
        self.tokenizer = tokenizer
        self.codebook_fingerprint = codebook_fingerprint
        self.name = name
        self.template = template or PromptTemplate()
        self.prefix_ids = self.template.prefix_ids(tokenizer)

    def prompt_batch(self, prompts: Sequence[str]) -> TextBatch:
        """Prompts in the model's own wording, padded on the left, ready to be answered."""
        return prompt_batch(self.tokenizer, [self.template.ask(prompt) for prompt in prompts])

    def training_batch(self, prompts: Sequence[str], answers: Sequence[str]) -> TextBatch:
        """Prompts in the model's own wording with answers to learn, padded on the right."""
        asked = [self.template.ask(prompt) for prompt in prompts]
        return training_batch(self.tokenizer, asked, list(answers))

    def embed(
        self, visual: Tensor, text: TextBatch, projected: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Input embeddings [B, P + M + T, H] and their mask: prefix, image tokens, text.

        The prefix is what the template puts before the image, if anything. ``visual`` is
        [B, M, D], or [B, M, H] if it is ``projected`` already.

        With text padded on the left the padding is moved to the front, so that positions do not
        depend on how long the other questions of the batch are.
        """
        on_the_left = bool((text.attention_mask[:, 0] == 0).any())
        text = text.to(visual.device)
        words = self.language_model.get_input_embeddings()(text.input_ids)
        image = visual if projected else self.projector(visual.to(words.dtype))
        prefix = embed_prefix(self.language_model, self.prefix_ids, image)
        return image_then_text(prefix, words, text.attention_mask, on_the_left)

    def answer_logits(
        self, visual: Tensor, text: TextBatch, projected: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Logits [A, V] and targets [A] at the A answer positions of a training batch.

        The vocabulary projection runs only where an answer token is predicted.
        """
        if text.labels is None:
            raise CraftError("text.labels is None: build the batch with training_batch()")
        embeds, mask = self.embed(visual, text, projected)
        before = embeds.shape[1] - text.labels.shape[1]
        # Which positions these are is found where the batch was made, so that no device waits.
        targets = F.pad(text.labels, (before, 0), value=IGNORE)[:, 1:]
        asked = (targets != IGNORE).nonzero(as_tuple=True)
        answers = targets[asked].to(embeds.device)
        rows, columns = (place.to(embeds.device) for place in asked)
        hidden = self.language_model.base_model(
            inputs_embeds=embeds, attention_mask=mask, use_cache=False
        ).last_hidden_state
        # Position t predicts token t + 1.
        return self.language_model.get_output_embeddings()(hidden[rows, columns]), answers

    def answer_loss(
        self, visual: Tensor, text: TextBatch, reduction: Literal["mean", "sum"] = "mean"
    ) -> Tensor:  # []
        """Token mean, or sum, of the next-token loss over answers (L_SAL, methods B1)."""
        logits, targets = self.answer_logits(visual, text)
        return F.cross_entropy(logits.float(), targets, reduction=reduction)

    @torch.inference_mode()
    def answer(self, visual: Tensor, text: TextBatch, max_new_tokens: int = 5) -> list[str]:
        """Greedy answers to left-padded prompts, up to the end token."""
        embeds, mask = self.embed(visual, text)
        ids = self.language_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    def save_pretrained(self, directory: Path | str) -> None:
        """Write language model, tokenizer, projector and a card that names the codebook."""
        directory = Path(directory)
        self.language_model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory / _TOKENIZER)
        save_file(self.projector.state_dict(), directory / _PROJECTOR)
        card = {
            "name": self.name,
            "codebook_fingerprint": self.codebook_fingerprint,
            "projector": {
                "width": self.projector.width,
                "hidden": self.projector.hidden,
                "inner": self.projector.inner,
            },
            "dtype": str(self.language_model.dtype).removeprefix("torch."),
            "template": self.template.to_dict(),
        }
        (directory / CARD).write_text(json.dumps(card, indent=2) + "\n")

    @classmethod
    def from_pretrained(
        cls, directory: Path | str, dtype: torch.dtype | None = None
    ) -> AlignedLanguageModel:
        """Load what :meth:`save_pretrained` wrote, frozen and in eval mode.

        Args:
            dtype: of the weights; by default the one that the card names, else float32.
        """
        directory = Path(directory)
        card = json.loads((directory / CARD).read_text())
        dtype = dtype or getattr(torch, card.get("dtype", "float32"))
        projector = Projector(**card["projector"])
        projector.load_state_dict(load_file(directory / _PROJECTOR))
        projector.to(dtype)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(directory / _TOKENIZER)
        template = PromptTemplate(**card.get("template", {}))
        fingerprint = card["codebook_fingerprint"]
        lvlm = cls(model, projector, tokenizer, fingerprint, card["name"], template)
        return lvlm.eval().requires_grad_(False)
