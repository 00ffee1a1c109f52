"""Visual tokens of one encoder, ready for any language model at any token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from craft.data.images.pace import EncodingPace
from craft.data.images.store import BATCH, ImageStore, cut, each_batch
from craft.errors import CraftError
from craft.evaluation.code_file import CodeFile
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.pruning import Pruned, prune
from craft.runtime.device import to_device
from craft.runtime.processes import ALONE, Processes
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.choices import Selector

#: Most bytes of plain features held at a time; codes are held for all images.
FEATURE_BYTES = 1 << 29


class Visual(Protocol):
    """Visual features of images, as language models read them."""

    @property
    def length(self) -> int:
        """How many tokens an image has before pruning."""
        ...

    @property
    def windows(self) -> Sequence[range]:
        """Ranges of images that are cheap to show together, in any order; they cover all images."""
        ...

    def show(self, images: Sequence[int]) -> Tensor:  # [b, M, D]
        """Features of images by their numbers."""
        ...


class VisualTokens:
    """Codes of images, each encoded once for all questions, language models and keep ratios.

    Codes and |r_1|^2 are stored, about 3 KiB per image at VILA-U's size; the features that language
    models read are looked up in the codebook, bit for bit as the encoder gave them. Plain features
    are not stored but recomputed, :data:`FEATURE_BYTES` of them at a time.

    Args:
        tower: the encoder; with plain features it must not change.
        images: read a batch at a time.
        prior: first-level code frequencies of the domain; only random pruning needs none.
        seed: of the random selectors, whose choice for an image depends only on seed and number.
        quantized: whether language models read codes or the encoder's plain features, which are
            still pruned by their codes.
        file: where codes are saved as they are computed; codes already in it are reused.
        on_images: called with (images encoded, images), first with those from ``file``.
        processes: each of them encodes some of the images, and has the codes of all afterwards.
        pace: measures how fast this process encodes.

    Raises:
        CodebookMismatchError: the prior was counted on another codebook.
        DataError: an image is missing or corrupt.
    """

    def __init__(
        self,
        tower: DiscreteVisionTower,
        images: ImageStore,
        prior: TokenPrior | None = None,
        seed: int = 0,
        quantized: bool = True,
        *,
        file: CodeFile | None = None,
        on_images: Callable[[int, int], None] = lambda done, total: None,
        processes: Processes = ALONE,
        pace: EncodingPace | None = None,
    ):
        if prior is not None:
            prior.check(tower.codebook.fingerprint, tensor_hash(tower.state_dict()))
        self.tower = tower
        self.images = images
        self.grid = tower.grid
        self.prior = prior
        self.seed = seed
        self.quantized = quantized
        self._window: tuple[range, Tensor] = range(0), torch.empty(0)
        rows, columns = self.grid
        book = tower.codebook
        small = torch.int16 if book.size <= 1 << 15 else torch.int32
        #: [n, N, L] int16 or int32, on the CPU.
        self.codes = torch.zeros(len(images), rows * columns, book.levels, dtype=small)
        #: |r_1|^2, [n, N] float32, on the CPU.
        self.residual_sq = torch.zeros(len(images), rows * columns)
        self.pace = pace
        known = processes.from_main(
            lambda: set(() if file is None else file.read(self.codes, self.residual_sq))
        )
        # Cut as one process would cut them: encoders round by the batch they work on.
        missing = [batch for batch in cut(0, len(images)) if batch not in known]
        count = len(images) - sum(map(len, missing))
        tally = processes.tally(count, len(images), on_images)
        tally.tell()
        mine = processes.block(missing)
        parts = each_batch(images, mine, tower.image_size, pace)
        for batch, pixels in zip(mine, parts, strict=True):
            self._encode(batch, pixels, file)
            tally.add(len(batch))
        processes.fill(self.codes)
        processes.fill(self.residual_sq)
        tally.close()

    def _encode(self, batch: range, pixels: Tensor, file: CodeFile | None) -> None:
        found = self.tower.encode(pixels)
        place = slice(batch.start, batch.stop)
        self.codes[place] = found.codes.to("cpu", self.codes.dtype)
        self.residual_sq[place] = found.residual_sq_norms[..., 0].cpu()
        if file is not None:
            file.append(batch.start, self.codes[place], self.residual_sq[place])

    @property
    def windows(self) -> Sequence[range]:
        """All images, or as many as fit into :data:`FEATURE_BYTES` as plain features."""
        count = len(self.images)
        if self.quantized:
            return [range(count)]
        each = 4 * self.codes.shape[1] * self.tower.codebook.dim
        most = BATCH * max(1, FEATURE_BYTES // each // BATCH)
        return [range(i, min(i + most, count)) for i in range(0, count, most)]

    def first_level(self, images: Sequence[int] | None = None) -> Tensor:  # [n, H, W] int64
        """First-level codes, of all images by default, on the CPU."""
        chosen = self.codes if images is None else self.codes[list(images)]
        return chosen[..., 0].long().unflatten(1, self.grid)

    def keep(
        self,
        images: Sequence[int],
        keep_ratio: float = 1.0,
        selector: Selector = "full",
        prior: Tensor | None = None,
    ) -> Pruned:
        """Prune images given by number; returns kept positions [b, M] and features [b, M, D].

        Args:
            prior: frequencies [K] to use instead of the stored prior.

        Raises:
            CraftError: the selector needs a prior, and there is none.
        """
        numbers = torch.tensor(list(images), dtype=torch.int64)
        if not self.quantized:
            return self._prune(numbers, self._plain(numbers), keep_ratio, selector, prior)
        kept = self._prune(numbers, None, keep_ratio, selector, prior)
        tower = self.tower
        dtype = tower.dtype if tower.precision == "fp32" else torch.float32
        return Pruned(kept.indices, (tower.codebook.lookup(kept.tensors[0]).to(dtype),))

    def _prune(
        self,
        numbers: Tensor,  # [b] int64
        what: Tensor | None,  # [b, N, ...]
        keep_ratio: float,
        selector: Selector,
        prior: Tensor | None = None,
    ) -> Pruned:
        """Kept positions and what is there; the codes, if nothing else is given."""
        device = self.tower.device
        codes = to_device(self.codes[numbers], device).long()
        distances = to_device(self.residual_sq[numbers], device)
        frequencies: TokenPrior | Tensor | None = self.prior if prior is None else prior
        if frequencies is None:
            require_prior(None, keep_ratio, selector)
            frequencies = distances.new_empty(0)  # random pruning ignores frequencies
        return prune(
            codes,
            distances,
            frequencies,
            self.grid,
            codes if what is None else what,
            keep_ratio=keep_ratio,
            selector=selector,
            seed=self.seed,
            image_index=numbers,
        )

    def view(
        self, keep_ratio: float = 1.0, selector: Selector = "full", prior: Tensor | None = None
    ) -> View:
        """The tokens that language models read at a budget; arguments as for :meth:`keep`."""
        return View(self, keep_ratio, selector, prior)

    def kept(self, keep_ratio: float, selector: Selector = "full") -> Tensor:  # [n, H, W] bool
        """Which patches pruning keeps; no image is encoded for this."""
        count = self.codes.shape[1]
        masks = []
        for start in range(0, len(self.images), BATCH):
            stop = min(start + BATCH, len(self.images))
            indices = self._prune(torch.arange(start, stop), None, keep_ratio, selector).indices
            mask = indices.new_zeros(len(indices), count, dtype=torch.bool)
            masks.append(mask.scatter(1, indices, True).unflatten(1, self.grid))
        return torch.cat(masks)

    def _plain(self, numbers: Tensor) -> Tensor:  # [b] -> [b, N, D]
        """Features before quantisation, computed window by window."""
        found: Tensor | None = None
        for window in self.windows:
            here = ((numbers >= window.start) & (numbers < window.stop)).nonzero().squeeze(1)
            if not len(here):
                continue
            if self._window[0] != window:
                self._window = range(0), torch.empty(0)  # freed before the next is computed
                self._window = window, self._encoded(window)
            chosen = self._window[1][(numbers[here] - window.start).to(self.tower.device)]
            if found is None:
                found = chosen.new_empty(len(numbers), *chosen.shape[1:])
            found[here.to(found.device)] = chosen
        assert found is not None
        return found

    def _encoded(self, window: range) -> Tensor:  # [n, N, D]
        batches = cut(window.start, window.stop)
        parts = each_batch(self.images, batches, self.tower.image_size, self.pace)
        return torch.cat([self.tower.continuous(pixels) for pixels in parts])


def require_prior(prior: TokenPrior | None, keep_ratio: float, selector: Selector) -> None:
    """Raise CraftError if pruning needs a prior and there is none."""
    if prior is None and keep_ratio != 1 and selector != "random":
        raise CraftError(
            f"pruning with selector {selector!r} needs the domain's token prior; count it with "
            "`craft prior`, or use selector 'random'"
        )


@dataclass(frozen=True)
class View:
    """Images at one budget, see :meth:`VisualTokens.view`."""

    tokens: VisualTokens
    keep_ratio: float = 1.0
    selector: Selector = "full"
    prior: Tensor | None = None

    @property
    def length(self) -> int:
        """See :attr:`Visual.length`."""
        return self.tokens.codes.shape[1]

    @property
    def windows(self) -> Sequence[range]:
        """See :attr:`Visual.windows`."""
        return self.tokens.windows

    def show(self, images: Sequence[int]) -> Tensor:  # [b, M, D]
        """See :meth:`Visual.show`."""
        return self.tokens.keep(images, self.keep_ratio, self.selector, self.prior).tensors[0]
