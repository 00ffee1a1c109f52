"""The gradient of the squared residual norms; the residuals are recomputed from the codes."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["N"])
def add_sq_norms_gradient(
    z,  # [N, D]
    words,  # [K, D] or [L, K, D] float32
    codes,  # [N, L] int64
    grad_sq_norms,  # [N, L] float32
    grad_quantized,  # [N, D]; unused unless ADD
    grad,  # [N, D] float32, out
    N,
    D,
    L,
    level_stride,  # from one level's codewords to the next; 0 if all levels share them
    ADD: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """grad = grad_quantized + sum over l of 2 grad_sq_norms[:, l] r_l, in float32, in order of
    level. Launched without fused multiply-add, so that it gives the same bits as the CPU."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (n < N)[:, None] & (d < D)[None, :]
    at = n[:, None] * D + d[None, :]
    residual = tl.load(z + at, mask=mask, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    if ADD:
        total = tl.load(grad_quantized + at, mask=mask, other=0.0).to(tl.float32)
    for level in range(L):
        code = tl.load(codes + n * L + level, mask=n < N, other=0)
        scale = 2 * tl.load(grad_sq_norms + n * L + level, mask=n < N, other=0.0)
        word = words + tl.full((), level, tl.int64) * level_stride
        residual -= tl.load(word + code[:, None] * D + d[None, :], mask=mask, other=0.0)
        total += scale[:, None] * residual
    tl.store(grad + at, total, mask=mask)
