"""An image set as one encoder says it, ready to be shown to any language model at any budget."""

from __future__ import annotations

import torch
from torch import Tensor

from craft.errors import CraftError
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.pruning import Pruned, prune, prune_order
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.choices import Selector


class VisualTokens:
    """Codes of an image set, encoded once, with one pruning order a selector, computed once.

    Every language model and every keep ratio reads the same codes; a sweep over keep ratios only
    takes longer prefixes of the same order.

    Args:
        tower: the encoder.
        images: [n, 3, S, S] in [0, 1] at the encoder's size.
        prior: first-level code frequencies of the domain; only random pruning does without.
        seed: of the random selectors, whose choice for an image depends on seed and row alone.
        quantized: language models read codes; else the encoder's plain features, which pruning
            still chooses by their codes.

    Raises:
        CodebookMismatchError: the prior was counted on another codebook.
    """

    def __init__(
        self,
        tower: DiscreteVisionTower,
        images: Tensor,
        prior: TokenPrior | None = None,
        seed: int = 0,
        quantized: bool = True,
    ):
        if prior is not None:
            prior.check(tower.codebook.fingerprint, tensor_hash(tower.state_dict()))
        self.codes = tower.encode(images)
        self.features = self.codes.quantized if quantized else tower.continuous(images)
        self.grid = tower.grid
        self.prior = prior
        self.seed = seed
        self._orders: dict[str, Tensor] = {}

    def order(self, selector: Selector = "full") -> Tensor:
        """Token positions [n, N], the last to be pruned first.

        Raises:
            CraftError: a selector that weighs rarity, and no prior to tell it.
        """
        if selector not in self._orders:
            prior: TokenPrior | Tensor | None = self.prior
            if prior is None:
                if selector != "random":
                    raise CraftError(
                        f"pruning with selector {selector!r} needs the domain's token prior; count "
                        "it with `craft prior`, or use selector 'random'"
                    )
                prior = self.features.new_empty(0)  # random pruning looks at no frequency
            self._orders[selector] = prune_order(
                self.codes.codes,
                self.codes.residual_sq_norms,
                prior,
                self.grid,
                selector=selector,
                seed=self.seed,
            )
        return self._orders[selector]

    def keep(self, keep_ratio: float, selector: Selector = "full") -> Pruned:
        """Kept positions [n, M] and the features [n, M, D] there; 1.0 returns the very features."""
        return prune(
            self.codes.codes,
            self.codes.residual_sq_norms,
            self.features.new_empty(0),  # the order is given
            self.grid,
            self.features,
            keep_ratio=keep_ratio,
            order=None if keep_ratio == 1 else self.order(selector),
        )

    def kept(self, keep_ratio: float, selector: Selector = "full") -> Tensor:  # [n, H, W] bool
        """Which patches survive."""
        indices = self.keep(keep_ratio, selector).indices
        rows, columns = self.grid
        mask = indices.new_zeros(len(indices), rows * columns, dtype=torch.bool)
        return mask.scatter(1, indices, True).unflatten(1, (rows, columns))
