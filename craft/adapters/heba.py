"""HeBA's adapter: a bottleneck that mixes neighbouring patches in images, but no words in text.

The formulas restate the public code of Heterogeneous Bottleneck Adapters (arXiv 2603.16653);
docs/heba.md says what comes from there and what is ours. An adapter changes the input of a block's
attention or feed-forward layer:

    A(x) = x + s·g(x)        g(x) = LN(x + f(x)) if post_norm, else f(x)
    f(x) = up(GELU(mid(down(x))))

``down`` and ``up`` work token by token; ``mid`` is a depthwise convolution over the patch grid in
images and nothing in text.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craft.errors import CraftError
from craft.settings.heba import HebaConfig


class Adapter(nn.Module):
    """A(x) for sequences [B, T, D].

    Args:
        width: D.
        grid: rows and columns of the patches at the end of a sequence; tokens before them, such as
            a class token, are not adapted. None for text, where every token is adapted.
        prefix_tokens: most tokens that may precede the patches.

    Only the norm has a bias.
    """

    def __init__(
        self,
        width: int,
        config: HebaConfig,
        grid: tuple[int, int] | None = None,
        prefix_tokens: int = 1,
    ):
        super().__init__()
        self.config = config
        self.grid = grid
        self.prefix_tokens = prefix_tokens
        hidden = width // 4 if config.bottleneck == "quarter" else config.bottleneck
        self.down = nn.Linear(width, hidden, bias=False)
        self.mid: nn.Module = nn.Identity()
        if grid is not None:
            k = config.kernel
            self.mid = nn.Conv2d(hidden, hidden, k, padding=k // 2, groups=hidden, bias=False)
        self.up = nn.Linear(hidden, width, bias=False)
        self.norm = nn.LayerNorm(width) if config.post_norm else None
        self.gate = nn.Parameter(torch.zeros(1)) if config.gate else None
        with torch.no_grad():
            if config.init_up == "zero":
                self.up.weight.zero_()
            else:
                nn.init.kaiming_normal_(self.up.weight, mode="fan_out", nonlinearity="relu")

    @property
    def closing(self) -> list[Tensor]:
        """The weights in which g is linear: if they are zero, A(x) = x whatever the others are."""
        if self.gate is not None:
            return [self.gate]
        if self.norm is not None:
            return [self.norm.weight, self.norm.bias]
        return [self.up.weight]

    def forward(
        self,
        x: Tensor,  # [B, T, D]
        fast: bool = False,
    ) -> Tensor:  # [B, T, D]
        """A(x), with the larger scale if ``fast``.

        Raises:
            CraftError: the sequence does not end in the grid's patches.
        """
        scale = self.config.scale * (self.config.fast_mult if fast else 1.0)
        if self.grid is None:
            return x + self._scaled(x, scale)
        patches = self.grid[0] * self.grid[1]
        prefix = x.shape[1] - patches
        if x.shape[1] <= self.prefix_tokens < patches:
            return x  # only the tokens before the patches
        if not 0 <= prefix <= self.prefix_tokens:
            raise CraftError(
                f"an adapter for {patches} patches ({self.grid[0]} x {self.grid[1]}) after at most "
                f"{self.prefix_tokens} other tokens got a sequence of {x.shape[1]} tokens; give "
                "install_heba the grid of these images"
            )
        if prefix == 0:
            return x + self._scaled(x, scale)
        return torch.cat([x[:, :prefix], x[:, prefix:] + self._scaled(x[:, prefix:], scale)], 1)

    def _scaled(self, x: Tensor, scale: float) -> Tensor:
        """s·g(x)."""
        if not self.config.grad_unscale:
            return scale * self._g(x)
        # Weights get the gradient of g itself, and x's gradient is scaled once.
        return _Scale.apply(self._g(_Scale.apply(x, 1.0, scale)), scale, 1.0)

    def _g(self, x: Tensor) -> Tensor:
        out = self.f(x)
        if self.norm is not None:
            out = self.norm(x + out)
        return out if self.gate is None else self.gate * out

    def f(self, x: Tensor) -> Tensor:  # [B, N, D] -> [B, N, D]
        """The bottleneck alone, on patches in raster order or on words."""
        hidden = self.down(x)
        if self.grid is not None:
            # Channels last: both views share memory with the tokens.
            hidden = hidden.unflatten(1, self.grid).permute(0, 3, 1, 2)
            hidden = self.mid(hidden).permute(0, 2, 3, 1).flatten(1, 2)
        return self.up(F.gelu(hidden))


class _Scale(torch.autograd.Function):
    """Multiply values by ``forward`` and gradients by ``backward``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: float, backward: float) -> Tensor:
        ctx.factor = backward
        return x * forward

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.factor, None, None
