"""Prune inside a loaded VILA-U model, optionally with exact codes; reversible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from craft.codebook import CodebookMismatchError
from craft.errors import CraftError
from craft.integrations.vila_u.encoding import Encoding, recorded
from craft.integrations.vila_u.exact_quantizer import ExactQuantizer
from craft.integrations.vila_u.layout import UnknownLayoutError, encoder_of, encoder_weights
from craft.integrations.vila_u.prior import codebook_for, precision_of
from craft.prior import TokenPrior
from craft.pruning import keep_count, prune
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.choices import Selector

Precision = Literal["vila-u", "exact"]


@dataclass(frozen=True)
class KeptTokens:
    """The tokens that the last pruning call kept, detached."""

    indices: Tensor  # [n, M] int64: kept patches in raster order
    codes: Tensor  # [n, N, L] int64: of all patches
    residual_sq: Tensor  # [n, N] float32: |x - c_1|^2 of all patches


def patch(
    model: nn.Module,
    *,
    prior: TokenPrior | None = None,
    keep_ratio: float = 0.8,
    precision: Precision = "vila-u",
    selector: Selector = "full",
    seed: int = 0,
) -> Handle:
    """Prune visual tokens in a loaded VILA-U model when it answers questions about images.

    Only this instance changes, by attributes that ``unpatch`` removes. Nothing is pruned where
    tokens become labels (training), in videos, and in image or video generation.

    Args:
        model: the result of ``vila_u.load``.
        prior: first-level code frequencies of the domain, from :func:`count_prior`.
        keep_ratio: share of each image's tokens to keep, in (0, 1]; 1 leaves answers bit-identical.
        precision: "vila-u" leaves quantisation to VILA-U; "exact" replaces its codes by exact ones,
            which do not depend on dtype, device and batch.
        selector, seed: as for `craft.prune`; only "random" needs no prior.

    Raises:
        UnknownLayoutError: the model is not VILA-U's.
        CraftError: the model is already patched; a keep ratio outside (0, 1]; no prior to prune by.
        CodebookMismatchError: the prior was counted on another codebook.
    """
    if precision not in get_args(Precision):
        raise CraftError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
    keep_count(1, keep_ratio)  # raises for a ratio outside (0, 1]
    if keep_ratio != 1 and prior is None and selector != "random":
        raise CraftError(
            f"keep_ratio={keep_ratio} with selector {selector!r} needs the domain's token prior; "
            "pass prior=count_prior(model, images), or selector='random'"
        )
    handle = Handle(model, prior, keep_ratio, selector, seed)
    handle.attach(precision)
    return handle


class Handle:
    """A patched model, made by :func:`patch`. A deep copy of the model has its own handle."""

    def __init__(
        self,
        model: nn.Module,
        prior: TokenPrior | None,
        keep_ratio: float,
        selector: Selector,
        seed: int,
    ):
        self.model: Any = model
        self.prior = prior
        self.keep_ratio = keep_ratio
        self.selector: Selector = selector
        self.seed = seed
        self.last: KeptTokens | None = None
        self._places: list[tuple[Any, str, Callable[..., Any], Any]] = []
        self._enabled = True
        self._answering = False  # inside a call that prepares a prompt without labels
        self._video = False

    def attach(self, precision: Precision) -> None:
        """Apply the patch; :func:`patch` calls this."""
        model = self.model
        quantizer = encoder_of(model).quantizer
        methods = {
            "encode_images": self._encode_images,
            "prepare_inputs_labels_for_multimodal": self._prepare,
            "generate_content": self._generate_content,
        }
        missing = [n for n in (*methods, "mm_projector", "llm") if not hasattr(model, n)]
        if missing:
            raise UnknownLayoutError(
                f"{type(model).__name__} has no {', '.join(missing)}; pass what vila_u.load(path) "
                "returns"
            )
        if any(isinstance(getattr(vars(model).get(n), "__self__", None), Handle) for n in methods):
            raise CraftError("the model is already patched; unpatch() its handle first")
        try:
            if precision == "exact":
                self._replace(quantizer, "forward", ExactQuantizer(quantizer).forward)
            self._check_prior()
        except Exception:
            self.unpatch()
            raise
        for name, method in methods.items():
            self._replace(model, name, method)

    def unpatch(self) -> None:
        """Restore the model as it was; a second call does nothing.

        Raises:
            CraftError: the patch was itself replaced since.
        """
        for owner, name, ours, _ in self._places:
            if vars(owner).get(name) != ours:
                raise CraftError(f"{name} was replaced again after patch(); undo that first")
        for owner, name, _, before in self._places:
            del vars(owner)[name]
            if before is not None:
                setattr(owner, name, before)
        self._places.clear()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Prune nothing inside a block, for videos that are passed to ``generate`` directly."""
        enabled, self._enabled = self._enabled, False
        try:
            yield
        finally:
            self._enabled = enabled

    def _replace(self, owner: Any, name: str, ours: Callable[..., Any]) -> None:
        self._places.append((owner, name, ours, vars(owner).get(name)))
        setattr(owner, name, ours)

    def _original(self, name: str) -> Callable[..., Any]:
        owner, before = next((o, b) for o, n, _, b in self._places if n == name)
        return before if before is not None else getattr(type(owner), name).__get__(owner)

    def _check_prior(self) -> None:
        if self.prior is None:
            return
        encoder = encoder_of(self.model)
        codebook = codebook_for(encoder.quantizer)
        if self.prior.size != codebook.size:
            raise CodebookMismatchError(
                f"the prior counts {self.prior.size} codes, the model's codebook has "
                f"{codebook.size}; count it again with count_prior(model, images)"
            )
        self.prior.check(
            codebook.fingerprint,
            tensor_hash(encoder_weights(encoder)),
            precision=precision_of(encoder),
        )

    def _prepare(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None,
        attention_mask: Tensor | None,
        past_key_values: Any,
        labels: Tensor | None,
        images: Any,
    ) -> Any:
        """Wrap ``prepare_inputs_labels_for_multimodal``, the only method that sees labels."""
        before, self._answering = self._answering, labels is None
        try:
            return self._original("prepare_inputs_labels_for_multimodal")(
                input_ids, position_ids, attention_mask, past_key_values, labels, images
            )
        finally:
            self._answering = before

    def _generate_content(self, prompt: Any, *args: Any, **kwargs: Any) -> Any:
        """Wrap ``generate_content``, the only method that can tell a video from several images."""
        before, self._video = self._video, _holds_video(prompt)
        try:
            return self._original("generate_content")(prompt, *args, **kwargs)
        finally:
            self._video = before

    def _encode_images(self, images: Tensor, image_ids: Any = None) -> tuple[Tensor, Tensor]:
        """Wrap ``encode_images``: drop tokens before the projector, which works per token."""
        pruning = self._enabled and self._answering and not self._video and self.keep_ratio < 1
        if not pruning:
            return self._original("encode_images")(images, image_ids)
        model, encoder = self.model, encoder_of(self.model)
        encoder.eval()
        with recorded(encoder.quantizer) as encodings:
            features, tokens = model.vision_tower(images, model.llm.vocab_size)
        features, tokens = self._keep(encodings[0], features, tokens)
        return model.mm_projector(features), tokens

    def _keep(
        self,
        encoding: Encoding,
        features: Tensor,  # [n, N, D]
        tokens: Tensor,  # [n, N, L]
    ) -> tuple[Tensor, Tensor]:  # [n, M, D], [n, M, L]
        codes, residual_sq = encoding.codes.flatten(1, 2), encoding.residual_sq
        prior = torch.empty(0) if self.prior is None else self.prior
        kept = prune(
            codes,
            residual_sq,
            prior,
            encoding.grid,
            features,
            tokens,
            keep_ratio=self.keep_ratio,
            selector=self.selector,
            seed=self.seed,
        )
        self.last = KeptTokens(kept.indices, codes, residual_sq)
        return kept.tensors[0], kept.tensors[1]


def _holds_video(prompt: Any) -> bool:
    parts = prompt if isinstance(prompt, (list, tuple)) else [prompt]
    return any(
        kind.__name__ == "Video" and kind.__module__.startswith("vila_u")
        for part in parts
        for kind in type(part).__mro__
    )
