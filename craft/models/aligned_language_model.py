"""A language model that reads visual codes, projected to image tokens before the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from craft.errors import CraftError
from craft.models.loading import load_model, load_tokenizer
from craft.models.projector import Projector
from craft.models.prompt_template import PromptTemplate
from craft.models.sequence import embed_prefix, image_then_text
from craft.models.text_batch import IGNORE, TextBatch, prompt_batch, training_batch
from craft.runtime.json_cards import CHECKSUM, read_card, with_checksum
from craft.runtime.stored_files import (
    StoredFileError,
    file_hash,
    require_unchanged,
)
from craft.runtime.stored_tensors import fill, read_tensors
from craft.runtime.whole_file import write_json, write_tensors
from craft.runtime.whole_folder import parts_swapped

CARD = "craft.json"
_PROJECTOR = "projector.safetensors"
# In a directory of its own: beside a model's config.json, AutoTokenizer goes by the model type and
# would rebuild a tokenizer of another kind as that model's default one.
_TOKENIZER = "tokenizer"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class _ProjectorShape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    width: int = Field(gt=0)
    hidden: int = Field(gt=0)
    inner: int | None = Field(default=None, gt=0)


class _Template(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    before_image: str = ""
    question: str = Field(default="{question}", pattern=r"\{question\}")
    begin: bool = False


class _Card(BaseModel):
    """Content of ``craft.json``; ``files`` are hashes of all other files, empty in older cards."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    codebook_fingerprint: str
    projector: _ProjectorShape
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    template: _Template = Field(default_factory=_Template)
    files: dict[str, str] = Field(default_factory=dict)


class AlignedLanguageModel(nn.Module):
    """A projector and a causal language model, aligned to one codebook and then frozen.

    Several of them can read the codes of one tower. Together with a tower, each is a
    :class:`~craft.models.discrete_lvlm.DiscreteLVLM`.

    Args:
        language_model: any transformers causal language model.
        projector: maps codebook features [..., D] to the model's embeddings.
        tokenizer: the language model's.
        codebook_fingerprint: of the codebook the pair was aligned to.
        name: used in tables.
        template: the text around image and question that the model was trained with.
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
        # Any: transformers' generated types do not know the attributes of causal language models.
        self.language_model: Any = language_model
        self.projector = projector
        self.tokenizer = tokenizer
        self.codebook_fingerprint = codebook_fingerprint
        self.name = name
        self.template = template or PromptTemplate()
        self.prefix_ids = self.template.prefix_ids(tokenizer)

    def prompt_batch(self, prompts: Sequence[str]) -> TextBatch:
        """Prompts in the model's template, padded on the left, ready to be answered."""
        return prompt_batch(self.tokenizer, [self.template.ask(prompt) for prompt in prompts])

    def training_batch(self, prompts: Sequence[str], answers: Sequence[str]) -> TextBatch:
        """Prompts in the model's template with answers to learn, padded on the right."""
        asked = [self.template.ask(prompt) for prompt in prompts]
        return training_batch(self.tokenizer, asked, list(answers))

    def embed(
        self, visual: Tensor, text: TextBatch, projected: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Input embeddings [B, P + M + T, H] and their mask: prefix, image tokens, text.

        The prefix is the template's text before the image, if any. ``visual`` has shape [B, M, D],
        or [B, M, H] if it is already ``projected``.

        Padding on the left of the text is moved to the front, so that positions do not depend on
        the length of the other questions in the batch.
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

        The vocabulary projection runs only at positions that predict an answer token.
        """
        if text.labels is None:
            raise CraftError("text.labels is None: build the batch with training_batch()")
        embeds, mask = self.embed(visual, text, projected)
        before = embeds.shape[1] - text.labels.shape[1]
        # Positions are computed on the device where the batch was made, to avoid synchronisation.
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
        """Mean or sum over answer tokens of the next-token loss (L_SAL, methods B1)."""
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
        """Save language model, tokenizer, projector and a card that names the codebook.

        Raises:
            OSError: they could not be written; an earlier model in ``directory`` is unchanged. On
                success it is replaced completely.
        """
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
        earlier = [path.name for path in Path(directory).glob("*model*.safetensors*")]
        parts = ("config.json", "generation_config.json", _PROJECTOR, _TOKENIZER, *earlier)
        needs = sum(x.nbytes for x in self.parameters())
        with parts_swapped(directory, parts, CARD, needs) as written:
            self.language_model.save_pretrained(written)
            self.tokenizer.save_pretrained(written / _TOKENIZER)
            write_tensors(written / _PROJECTOR, self.projector.state_dict())
            files = sorted(path for path in written.rglob("*") if path.is_file())
            names = [path.relative_to(written).as_posix() for path in files]
            write_card(written, card | {"files": names})

    @classmethod
    def from_pretrained(
        cls, directory: Path | str, dtype: torch.dtype | None = None
    ) -> AlignedLanguageModel:
        """Load what :meth:`save_pretrained` wrote, frozen and in eval mode.

        Args:
            dtype: of the weights; by default the card's.

        Raises:
            CraftError: a file is missing, damaged, truncated, changed since it was written, or a
                Git LFS pointer; weights do not fit their config or each other; the tokenizer has no
                end token.
        """
        directory = Path(directory)
        what = f"the language model {directory.name!r}"
        card = read_card(directory / CARD, f"the card of {what}", _Card)
        dtype = dtype or _DTYPES[card.dtype]
        projector = Projector(**card.projector.model_dump())
        stored = directory / _PROJECTOR
        fill(projector, read_tensors(stored, f"the projector of {what}").tensors, stored)
        projector.to(dtype)
        model: Any = load_model(AutoModelForCausalLM, directory, what, dtype=dtype)
        width = model.get_input_embeddings().embedding_dim
        if width != projector.hidden:
            raise StoredFileError(
                f"{stored} maps to {projector.hidden} dimensions, but {what} has embeddings of "
                f"{width}: they do not belong together"
            )
        tokenizer = load_tokenizer(directory / _TOKENIZER, what)
        require_end_token(tokenizer, directory / _TOKENIZER)
        # Last, because the errors above say more about a damaged file.
        require_unchanged(directory, card.files, CARD)
        template = PromptTemplate(**card.template.model_dump())
        language_model = cls(
            model, projector, tokenizer, card.codebook_fingerprint, card.name, template
        )
        return language_model.eval().requires_grad_(False)


def write_card(directory: Path, content: Mapping[str, Any]) -> None:
    """Write ``craft.json`` with the current hashes of the files that ``content`` lists.

    Files that no longer exist are left out.

    Raises:
        OSError: it could not be written.
    """
    known = {
        name: file_hash(directory / name)
        for name in content.get("files", {})
        if (directory / name).is_file()
    }
    kept = {key: value for key, value in content.items() if key != CHECKSUM}
    write_json(directory / CARD, with_checksum({**kept, "files": known}))


def require_end_token(tokenizer: PreTrainedTokenizerBase, origin: Path | str) -> None:
    """Require an end token, and use it as pad token if there is none.

    Padding is masked, so the choice of pad token changes neither answers nor training.

    Raises:
        CraftError: there is no end token.
    """
    if tokenizer.eos_token_id is None:
        raise CraftError(f"the tokenizer of {origin} has no end token; answers need one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
