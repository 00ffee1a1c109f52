"""One level's codewords, and what the native search prepares from them."""

from __future__ import annotations

import torch
from torch import Tensor

from craft_kernels.backends import native_module
from craft_kernels.fork_aware_lock import ForkAwareLock
from craft_kernels.residual_quantize.arguments import raise_if_not_finite
from craft_kernels.residual_quantize.buffers import empty, round_up
from craft_kernels.residual_quantize.gram_rows import GramRows

DEFAULT_GRAM_BYTES = 1 << 30


class Codewords:
    """The codewords of one level, and their packed form for the native kernels, made on demand."""

    def __init__(
        self,
        words: Tensor,  # [K, D] float32, contiguous, finite
        gram_bytes: int,
    ) -> None:
        self.words = words
        self.gram_bytes = gram_bytes
        self._packed: dict[str, PackedCodewords] = {}
        self._packing = ForkAwareLock()

    @property
    def gram_nbytes(self) -> int:
        return sum(packed.gram.nbytes for packed in self._packed.values())

    def packed(self) -> PackedCodewords:
        """The form for the current instruction set. Only tests use more than one."""
        isa = native_module().isa()
        with self._packing:
            if isa not in self._packed:
                with torch.inference_mode(False):
                    self._packed[isa] = PackedCodewords(self.words, self.gram_bytes)
            return self._packed[isa]


class PackedCodewords:
    """Codewords, rounded and laid out for the matrix product; see csrc/codewords.h."""

    def __init__(
        self,
        words: Tensor,  # [K, D] float32, contiguous, finite
        gram_bytes: int,
    ) -> None:
        native = native_module()
        K, D = words.shape
        self.padded = round_up(K, native.BLOCK)
        blocks = round_up(self.padded // native.BLOCK, native.BLOCK_GROUP)
        half_sq_norms64 = _half_sq_norms(words, None)
        mean = _common_mean(words, half_sq_norms64) if native.rounds_operands() else None
        centred = half_sq_norms64 if mean is None else _half_sq_norms(words, mean)
        order = empty(self.padded, dtype=torch.int32).fill_(-1)
        order[:K] = centred.argsort()
        panels = empty(native.codewords_bytes(self.padded, D), dtype=torch.uint8)
        along_mean = None if mean is None else empty(self.padded, dtype=torch.float32)
        half_sq_norms = empty(self.padded, dtype=torch.float32)
        bounds = empty(2, blocks, dtype=torch.float32).zero_()
        self.native = native.pack_codewords(
            K=K,
            D=D,
            P=self.padded,
            words=words.data_ptr(),
            half_sq_norms64=half_sq_norms64.data_ptr(),
            mean=_address(mean),
            centred_half_sq_norms64=centred.data_ptr(),
            order=order.data_ptr(),
            panels=panels.data_ptr(),
            along_mean=_address(along_mean),
            half_sq_norms=half_sq_norms.data_ptr(),
            block_norm=bounds[0].data_ptr(),
            block_rounding=bounds[1].data_ptr(),
            threads=torch.get_num_threads(),
        )
        self._kept_alive = (
            words, half_sq_norms64, mean, order, panels, along_mean, half_sq_norms, bounds
        )  # fmt: skip
        self.gram = GramRows(
            self.native, words, mean, native.gram_row_bytes(self.padded), gram_bytes
        )


# A mean shorter than this, relative to a typical codeword, would hardly narrow the bound.
_LEAST_MEAN = 0.2


def _common_mean(
    words: Tensor,  # [K, D] float32
    half_sq_norms: Tensor,  # [K] float64
) -> Tensor | None:  # [D] float32
    """The mean of the codewords, or None if it is too short to be worth subtracting."""
    mean = words.mean(0)
    length, typical = mean.norm().item(), (2 * half_sq_norms.mean()).sqrt().item()
    # Far from both ends of float32's range, no product with the mean overflows or underflows.
    usable = 2.0**-40 < length < 2.0**40
    return mean if usable and length > _LEAST_MEAN * typical else None


def _half_sq_norms(
    words: Tensor,  # [K, D] float32
    mean: Tensor | None,  # [D] float32
) -> Tensor:  # [K] float64
    half_sq_norms = empty(len(words), dtype=torch.float64)
    native_module().half_sq_norms(
        K=words.shape[0],
        D=words.shape[1],
        words=words.data_ptr(),
        mean=_address(mean),
        half_sq_norms=half_sq_norms.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return half_sq_norms


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def codewords_of_levels(
    codebook: Tensor,  # [K, D] or [L, K, D]
    gram_bytes: int = DEFAULT_GRAM_BYTES,
) -> tuple[Codewords, ...]:
    """One entry for a shared codebook, otherwise one per level. ValueError if it is not finite."""
    raise_if_not_finite("codebook", codebook)
    words = codebook.float().contiguous()
    return tuple(Codewords(level, gram_bytes) for level in words.reshape(-1, *words.shape[-2:]))
