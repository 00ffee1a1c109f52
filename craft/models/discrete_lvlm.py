"""The whole model: discrete vision tower, projector and any causal language model."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.codebook_checkpoint import CodebookCheckpoint
from craft.models.configuration import DiscreteLVLMConfig
from craft.models.projector import Projector
from craft.models.sequence import embed_prefix, image_then_text
from craft.models.text_batch import IGNORE
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.pruning import Pruned, prune
from craft.quantization import quantize
from craft.settings.choices import Selector


class DiscreteLVLM(CodebookCheckpoint):
    """A causal language model that reads images through a frozen codebook (paper, sec. 3).

    Args:
        config: shapes; the language model is any that AutoModelForCausalLM knows.
        codebook: of the tower's width.

    Raises:
        CraftError: the config has no language model; the codebook has another width.
        CodebookMismatchError: the config names another codebook.
    """

    config_class = DiscreteLVLMConfig
    config: Any
    main_input_name = "pixel_values"
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["ReadableBlock"]  # noqa: RUF012

    def __init__(self, config: DiscreteLVLMConfig, codebook: Codebook | None = None):
        super().__init__(config)
        if config.text_config is None:
            raise CraftError(
                "text_config is missing; give the language model's config, such as Qwen2Config()"
            )
        self.tower = DiscreteVisionTower(config.vision_config, codebook)
        self.projector = Projector(
            config.vision_config.hidden_size, config.text_config.hidden_size, config.projector_inner
        )
        # Any: transformers' generated types do not know the attributes of causal language models.
        self.language_model: Any = AutoModelForCausalLM.from_config(
            config.text_config, trust_remote_code=False
        )
        self.post_init()

    @classmethod
    def from_parts(
        cls, tower: DiscreteVisionTower, language_model: AlignedLanguageModel
    ) -> DiscreteLVLM:
        """Join a tower and a language model aligned to its codebook; weights are not copied.

        Raises:
            CodebookMismatchError: they speak different codebooks.
        """
        tower.codebook.require_fingerprint(language_model.codebook_fingerprint)
        config = DiscreteLVLMConfig(
            vision_config=tower.config,
            text_config=language_model.language_model.config,
            projector_inner=language_model.projector.inner,
            prefix_ids=language_model.prefix_ids or None,
        )
        with torch.device("meta"):
            model = cls(config, tower.codebook)
        model.tower = tower
        model.projector = language_model.projector
        model.language_model = language_model.language_model
        return model.eval()

    @property
    def codebook(self) -> Codebook:
        return self.tower.codebook

    def get_input_embeddings(self) -> Any:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.language_model.get_output_embeddings()

    def visual_tokens(
        self,
        pixel_values: Tensor,  # [B, 3, S, S] in [-1, 1]
        *,
        keep_ratio: float = 1.0,
        prior: TokenPrior | None = None,
        selector: Selector = "full",
        seed: int = 0,
        reads: Literal["codes", "features"] = "codes",
    ) -> Tensor:  # [B, M, D]
        """Features of the kept tokens, in raster order.

        At a keep ratio of 1 these are exactly the features of all tokens. Arguments and errors as
        for :meth:`kept_tokens`.
        """
        return self.kept_tokens(
            pixel_values,
            keep_ratio=keep_ratio,
            prior=prior,
            selector=selector,
            seed=seed,
            reads=reads,
        ).tensors[0]

    def kept_tokens(
        self,
        pixel_values: Tensor,  # [B, 3, S, S] in [-1, 1]
        *,
        keep_ratio: float = 1.0,
        prior: TokenPrior | None = None,
        selector: Selector = "full",
        seed: int = 0,
        image_index: int | Tensor = 0,
        reads: Literal["codes", "features"] = "codes",
    ) -> Pruned:
        """Select the tokens to keep; ``tensors[0]`` of the result are their features [B, M, D].

        Args:
            reads: "codes" for quantised features, "features" for the plain ones of continuous
                baselines.
            prior: first-level code frequencies of the domain; needed unless all tokens are kept or
                pruning is random.
            selector, seed, image_index: as for `craft.prune`.

        Raises:
            CraftError: a keep ratio outside (0, 1]; pruning other than at random without a prior.
            CodebookMismatchError: the prior was counted on another codebook.
        """
        plain, _ = self.tower.features(pixel_values)
        codes, quantized, residual_sq = quantize(plain, self.codebook)
        if prior is not None:
            prior.check(self.codebook.fingerprint)
        elif keep_ratio < 1 and selector != "random":
            raise CraftError(
                f"keep_ratio={keep_ratio} with selector {selector!r} needs the domain's token "
                "prior; pass prior=TokenPrior.load(...), or selector='random'"
            )
        frequencies = torch.empty(0) if prior is None else prior
        return prune(
            codes,
            residual_sq,
            frequencies,
            self.tower.grid,
            quantized if reads == "codes" else plain,
            keep_ratio=keep_ratio,
            selector=selector,
            seed=seed,
            image_index=image_index,
        )

    def input_embeddings(
        self,
        visual: Tensor,  # [B, M, D]
        input_ids: Tensor,  # [B, T]
        attention_mask: Tensor | None,  # [B, T]
    ) -> tuple[Tensor, Tensor]:  # [B, P + M + T, H], [B, P + M + T]
        """Embeddings of prefix, image and text, and their mask; left padding moves to the front."""
        words = self.get_input_embeddings()(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        image = self.projector(visual.to(words.dtype))
        image = embed_prefix(self.language_model, self.config.prefix_ids or (), image)
        return image_then_text(image, words, mask)

    def forward(
        self,
        pixel_values: Tensor,  # [B, 3, S, S] in [-1, 1]
        input_ids: Tensor,  # [B, T], padded on the right
        attention_mask: Tensor | None = None,  # [B, T]
        labels: Tensor | None = None,  # [B, T], -100 = no label
    ) -> CausalLMOutputWithPast:
        """Next-token logits [B, P + M + T, V] and, with labels, the token mean of their loss.

        Raises:
            CraftError: labels are given and the text is padded on the left.
        """
        if labels is not None and attention_mask is not None and (attention_mask[:, 0] == 0).any():
            raise CraftError("attention_mask starts with padding; with labels, pad on the right")
        visual = self.visual_tokens(pixel_values)
        embeds, mask = self.input_embeddings(visual, input_ids, attention_mask)
        logits = self.language_model(
            inputs_embeds=embeds, attention_mask=mask, use_cache=False
        ).logits
        if labels is None:
            return CausalLMOutputWithPast(logits=logits)
        before = embeds.shape[1] - labels.shape[1]
        targets = F.pad(labels, (before, 0), value=IGNORE)[:, 1:]
        loss = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE
        )
        return CausalLMOutputWithPast(loss=loss, logits=logits)

    @torch.inference_mode()
    def generate(
        self,
        pixel_values: Tensor,  # [B, 3, S, S] in [-1, 1]
        input_ids: Tensor,  # [B, T], padded on the left
        attention_mask: Tensor | None = None,  # [B, T]
        *,
        keep_ratio: float = 1.0,
        prior: TokenPrior | None = None,
        selector: Selector = "full",
        seed: int = 0,
        **kwargs: Any,
    ) -> Tensor:  # [B, new tokens]
        """Continue prompts about images; return only the new tokens.

        Args:
            keep_ratio, prior, selector, seed: as for :meth:`visual_tokens`.
            kwargs: for transformers' ``generate``, such as ``max_new_tokens`` and ``do_sample``.

        Raises:
            CraftError: as for :meth:`visual_tokens`.
        """
        visual = self.visual_tokens(
            pixel_values, keep_ratio=keep_ratio, prior=prior, selector=selector, seed=seed
        )
        embeds, mask = self.input_embeddings(visual, input_ids, attention_mask)
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=mask, **kwargs)


AutoModel.register(DiscreteLVLMConfig, DiscreteLVLM)
AutoModelForImageTextToText.register(DiscreteLVLMConfig, DiscreteLVLM)
