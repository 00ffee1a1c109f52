"""Every matrix product on the CPU, rounded as some other processor might have rounded it.

What a product rounds to differs between processors, libraries and thread counts. Here each element
of a product is multiplied by 1 + 2^-22 or 1 - 2^-22 (in float32; two units of the last place in
float64). Which of the two is a hash of a seed, the element's place and its bits. So, as on real
processors, the same call rounds the same way whenever it is made, and equal rows of one batch do
not: runs stay reproducible, and what hangs on rounding shows.

torch's kernels themselves are replaced, so autograd, torch.compile's calls of them and other
threads see it too; processes that a test starts do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

#: Three other ways to round show how much a result moves; a fourth may move it some times more.
SEEDS = (1, 2, 3)
MARGIN = 10
#: Functional, in-place and out= forms: one element of a result is one sum of products.
PRODUCTS = (
    *(f"{name}{form}" for name in ("mm", "bmm", "mv", "dot") for form in ("", ".out")),
    *(
        f"{name}{form}"
        for name in ("addmm", "addmv", "addbmm", "baddbmm")
        for form in ("", "_", ".out")
    ),
    "addr",
    "convolution",
    "convolution_backward",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
)
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
_STEP = {torch.float32: 2.0**-22, torch.float64: 2.0**-51}


class PerturbedProducts:
    """Replaces torch's products until :meth:`restore`.

    Attributes:
        calls: how many products were perturbed, by the name of the operator.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.calls: dict[str, int] = {}
        self._library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators")
            for name in PRODUCTS:
                self._library.impl(name, self._kernel(name), "CPU", with_keyset=True)

    def restore(self) -> None:
        """Give torch its own products back."""
        self._library._destroy()

    def _kernel(self, name: str) -> Callable[..., Any]:
        original = torch.library.get_kernel(f"aten::{name}", "CPU")

        def product(keys: Any, *args: Any, **how: Any) -> Any:
            result = original.call_boxed(keys, *args, **how)
            self.calls[name] = self.calls.get(name, 0) + 1
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    perturb(tensor, self.seed)
            return result

        return product


@contextmanager
def rounded_otherwise(seed: int) -> Iterator[None]:
    """Products inside the block are perturbed, and there are some."""
    products = PerturbedProducts(seed)
    try:
        yield
    finally:
        products.restore()
    assert products.calls


def rounding(compute: Callable[[], Tensor]) -> float:
    """How far two ways to round may set apart what ``compute`` returns, at its largest.

    How much that is depends on how much its sums cancel, so it is tried out.
    """
    expected = compute()
    changes = []
    for seed in SEEDS:
        with rounded_otherwise(seed):
            changes.append(float((compute() - expected).abs().max()))
    return MARGIN * max(changes)


def perturb(product: Tensor, seed: int) -> None:
    """Move each element by two units of the last place at most, in place.

    Products in half precision stay: they are rounded from sums in float32, and a float32 rounding
    seldom shows in them.
    """
    if product.dtype not in _BITS or not product.numel():
        return
    bits = product.contiguous().view(_BITS[product.dtype])
    place = torch.arange(product.numel(), dtype=bits.dtype).view(bits.shape)
    mixed = (bits ^ (place * 0x9E3779B1 + seed)) * 0x2C1B3C6D
    mixed = (mixed ^ (mixed >> 15)) * 0x297A2D39
    sign = (((mixed >> 13) & 1) * 2 - 1).to(product.dtype)
    product.mul_(1 + _STEP[product.dtype] * sign)
