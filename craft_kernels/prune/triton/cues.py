"""The cues of a token among those with its ID: their number, its residual's rank, its isolation."""

import triton
import triton.language as tl

from craft_kernels.prune.triton.fixed_log import fixed_log

_NEVER = tl.constexpr(2**62)  # farther than any distance


@triton.jit
def measure_cues(
    ids,  # [B, N] int64
    residual_sq,  # [B, N] float32
    prior,  # [K] float32
    distances,  # [H, W] int64
    counts,  # [B, N] int32, out: tokens of the same ID
    residual_ranks,  # [B, N] int32, out: 2 (number less) + (number equal) - 1 within the ID
    isolations,  # [B, N] int64, out: summed distances to the nearest tokens of the same ID
    log_priors,  # [B, N] int64, out
    N,
    W,
    neighbors,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    blocks = tl.cdiv(N, BLOCK_I)
    image = (tl.program_id(0) // blocks).to(tl.int64) * N
    i = (tl.program_id(0) % blocks) * BLOCK_I + tl.arange(0, BLOCK_I)
    here = i < N
    token_id = tl.load(ids + image + i, mask=here, other=-1)
    residual = tl.load(residual_sq + image + i, mask=here, other=0.0)
    less = tl.zeros((BLOCK_I,), tl.int32)
    equal = tl.zeros((BLOCK_I,), tl.int32)
    count = tl.zeros((BLOCK_I,), tl.int32)
    for start in range(0, N, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        other_id = tl.load(ids + image + j, mask=j < N, other=-2)
        other = tl.load(residual_sq + image + j, mask=j < N, other=0.0)
        same = token_id[:, None] == other_id[None, :]
        count += tl.sum(same.to(tl.int32), 1)
        less += tl.sum((same & (other[None, :] < residual[:, None])).to(tl.int32), 1)
        equal += tl.sum((same & (other[None, :] == residual[:, None])).to(tl.int32), 1)
    tl.store(counts + image + i, count, mask=here)
    tl.store(residual_ranks + image + i, 2 * less + equal - 1, mask=here)
    code = tl.maximum(token_id, 0)
    tl.store(log_priors + image + i, fixed_log(tl.load(prior + code)), mask=here)

    # Step from each distance to the next greater one until enough tokens have been met. Starting at
    # distance 0 skips the token itself.
    wanted = tl.minimum(count - 1, tl.full((), neighbors, tl.int32))
    wanted = tl.where(here, wanted, 0)
    reached = tl.zeros((BLOCK_I,), tl.int64)
    total = tl.zeros((BLOCK_I,), tl.int64)
    row, column = i // W, i % W
    while tl.max(wanted, 0) > 0:
        nearest = tl.full((BLOCK_I,), _NEVER, tl.int64)
        met = tl.zeros((BLOCK_I,), tl.int32)
        for start in range(0, N, BLOCK_J):
            j = start + tl.arange(0, BLOCK_J)
            other_id = tl.load(ids + image + j, mask=j < N, other=-2)
            same = token_id[:, None] == other_id[None, :]
            rows = tl.abs(row[:, None] - (j // W)[None, :])
            columns = tl.abs(column[:, None] - (j % W)[None, :])
            units = tl.load(distances + rows * W + columns, mask=same, other=_NEVER)
            units = tl.where(units > reached[:, None], units, _NEVER)
            closest = tl.min(units, 1)
            found = tl.sum((units == closest[:, None]).to(tl.int32), 1)
            met = tl.where(closest < nearest, found, met + tl.where(closest == nearest, found, 0))
            nearest = tl.minimum(nearest, closest)
        taken = tl.minimum(met, wanted)
        total += tl.where(wanted > 0, taken.to(tl.int64) * nearest, 0)
        wanted -= taken
        reached = nearest
    tl.store(isolations + image + i, total, mask=here)
