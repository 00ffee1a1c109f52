"""Residual quantisation whose levels see the residual through a projection, as DAC's do.

Level l compares A_l r + a_l, a short vector, with its codewords, and takes B_l c + b_l, a long one,
off the residual. Nothing long is needed after the first product: what level m takes off changes
what level l sees by A_l (B_m c + b_m), a row of a small table.
"""

from __future__ import annotations

import itertools
import weakref
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craft_kernels.fork_aware_lock import ForkAwareLock
from craft_kernels.registration import register_fake
from craft_kernels.residual_quantize.arguments import check_tensor, raise_if_not_finite
from craft_kernels.tensor_snapshot import Snapshot

_library = torch.library.Library("craft", "FRAGMENT")
_handles = itertools.count(1)
_alive: weakref.WeakValueDictionary[int, LiveProjections] = weakref.WeakValueDictionary()
_TILE = 256  # tokens whose scores are held at a time
_BLOCK = 64  # codewords whose greatest score is kept
_UNIT = 2.0**-53


class Level(NamedTuple):
    """What belongs to one level; all in one dtype, which is taken as float32, exactly."""

    into: Tensor  # A [d, D]
    into_bias: Tensor  # a [d]
    out: Tensor  # B [D, d]
    out_bias: Tensor  # b [D]
    words: Tensor  # c [K, d]


class ProjectedCodes(NamedTuple):
    codes: Tensor  # [..., L] int64
    seen: Tensor  # [..., L, d] float32: A_l r + a_l


class LiveProjections:
    """What searches through a model's projections share, for as long as its tensors stay the same.

    As `LiveCodebook`, it reads tensors again that have changed, and a copy starts empty.

    Args:
        cosine: a level takes the codeword of the greatest cosine similarity; otherwise the nearest.
    """

    def __init__(self, *, cosine: bool = False) -> None:
        self.cosine = cosine
        self._read: dict[int, tuple[Snapshot, Prepared]] = {}  # by how many levels are asked for
        self._reading = ForkAwareLock()
        self._handle = next(_handles)
        _alive[self._handle] = self

    def codes(
        self,
        z: Tensor,  # [..., D]
        levels: list[Level],
    ) -> ProjectedCodes:
        """Codes in real arithmetic, with nothing rounded between the levels.

        With r_0 = z and r_l = r_{l-1} - (B_l c_{k_l} + b_l), none of it rounded, the code of level
        l is k_l = argmax_j <A_l r_{l-1} + a_l, s_j> - n_j / 2 in real arithmetic, the lowest index
        on ties. For the nearest codeword s = c and n_j = |c_j|^2; for cosine similarity s are the
        codewords scaled to length one and rounded in their dtype
        (torch.nn.functional.normalize), and n = 0. Scores are computed in float64; where its
        rounding could decide, in rational numbers. There is no gradient.

        Args:
            z: [..., D] float32, bfloat16 or float16; taken exactly.
            levels: of the first level, the second, ...; all of one shape, on the device of z.

        Returns:
            codes, and what the levels saw, computed in float64 and rounded to float32.

        Raises:
            ValueError: for an argument that cannot be used, NaN and infinity included.
        """
        check_tensor("z", z)
        if not levels:
            raise ValueError("levels must hold at least one level, got none")
        dims = {(tuple(level.into.shape), tuple(level.words.shape)) for level in levels}
        if len(dims) != 1 or z.shape[-1] != levels[0].into.shape[1]:
            raise ValueError(
                "levels must be of one shape, with as many columns as z has numbers, got "
                f"{sorted(dims)} for z {tuple(z.shape)}"
            )
        flat = list(itertools.chain.from_iterable(levels))
        return ProjectedCodes(
            *torch.ops.craft.projected_codes.default(z.detach(), flat, self._handle, self.cosine)
        )

    def _prepared(self, tensors: list[Tensor]) -> Prepared:
        read = self._read.get(len(tensors))
        if read is None or not read[0].still(tensors):
            with self._reading, torch.inference_mode(False), torch.no_grad():
                snapshot = Snapshot.of(tensors)
                read = snapshot, _prepare(snapshot.tensors, self.cosine)
                self._read[len(tensors)] = read
        return read[1]

    def __reduce__(self):
        return _empty, (self.cosine,)

    def __deepcopy__(self, memo: object) -> LiveProjections:
        return _empty(self.cosine)

    def __repr__(self) -> str:
        return f"LiveProjections(cosine={self.cosine})"


def _empty(cosine: bool) -> LiveProjections:
    return LiveProjections(cosine=cosine)


class Prepared(NamedTuple):
    """Float64, but for what the exact fallback reads."""

    levels: list[Level]  # float32
    searched: Tensor  # s [L, K, d]
    scores_of: Tensor  # s transposed [L, d, K], contiguous
    half_sq_norms: Tensor  # n / 2 [L, K]
    project: Tensor  # [D, L d]
    bias: Tensor  # [L d]
    taken: list[Tensor]  # of level m: [K, (L - m - 1) d], what later levels see less
    # |A_l|, |a_l| + |A_l| times all that earlier levels may take off, and greatest |s|, n / 2
    gain: list[float]
    reach: list[float]
    longest: list[float]
    heaviest: list[float]


def _prepare(tensors: list[Tensor], cosine: bool) -> Prepared:
    for name, tensor in zip(itertools.cycle(Level._fields), tensors, strict=False):
        raise_if_not_finite(name, check_tensor(name, tensor))
    count = len(tensors) // len(Level._fields)
    groups = [tensors[len(Level._fields) * i :][: len(Level._fields)] for i in range(count)]
    levels = [Level(*(tensor.float() for tensor in group)) for group in groups]
    (into, into_bias, out, out_bias, words) = (
        torch.stack(part).double() for part in zip(*levels, strict=True)
    )
    (depth, short, long) = into.shape
    searched, half_sq_norms = words, 0.5 * words.square().sum(-1)
    if cosine:
        units = [F.normalize(group[-1], dim=-1) for group in groups]
        searched, half_sq_norms = torch.stack(units).double(), torch.zeros_like(half_sq_norms)
    rows = into.reshape(-1, long)  # [L d, D]
    taken, reach, removed = [], [], 0.0
    gain = torch.linalg.matrix_norm(into).tolist()
    for m in range(depth):
        reach.append(into_bias[m].norm().item() + gain[m] * removed)
        later = rows[(m + 1) * short :]
        taken.append(words[m] @ (later @ out[m]).T + later @ out_bias[m])
        columns = out[m].norm(dim=0)
        removed += (words[m].abs() @ columns).max().item() + out_bias[m].norm().item()
    return Prepared(
        levels=levels,
        searched=searched,
        scores_of=searched.mT.contiguous(),
        half_sq_norms=half_sq_norms,
        project=rows.T.contiguous(),
        bias=into_bias.reshape(-1),
        taken=taken,
        gain=gain,
        reach=reach,
        longest=searched.norm(dim=-1).amax(1).tolist(),
        heaviest=half_sq_norms.amax(1).tolist(),
    )


def search(
    z: Tensor,  # [N, D] float32
    prepared: Prepared,
) -> tuple[Tensor, Tensor]:  # [N, L] int64, [N, L, d] float64
    (depth, _, short) = prepared.searched.shape
    wide = z.double()
    seen = torch.addmm(prepared.bias, wide, prepared.project)  # [N, L d]
    lengths = wide.norm(dim=1)
    if not torch.isfinite(lengths).all():
        raise_if_not_finite("z", z)
    codes = z.new_empty((len(z), depth), dtype=torch.int64)
    for level in range(depth):
        now = seen[:, level * short : (level + 1) * short]
        found = codes[:, level]
        _nearest(z, now, lengths, prepared, codes, level)
        if level + 1 < depth:
            seen[:, (level + 1) * short :] -= prepared.taken[level][found]
    return codes, seen.reshape(len(z), depth, short)


def _nearest(
    z: Tensor,  # [N, D] float32
    now: Tensor,  # [N, d] float64
    lengths: Tensor,  # [N] of z
    prepared: Prepared,
    codes: Tensor,  # [N, L]: known up to this level, which is filled in
    level: int,
) -> None:
    """Where a product in float64 cannot tell codewords apart, rational numbers do."""
    short, long = now.shape[1], prepared.project.shape[0]
    longest, heaviest = prepared.longest[level], prepared.heaviest[level]
    # A sum of n products, in any order, is off by at most n u times the sum of their magnitudes;
    # an entry of `taken` is a sum of sums, and every level adds a rounding.
    terms = long + short + 2 * len(prepared.levels) + 8
    off = terms * (prepared.gain[level] * lengths + prepared.reach[level]) * longest
    off += (short + 8) * (now.norm(dim=1) * longest + heaviest)
    widths = 2.02 * _UNIT * off  # [N]; twice, as both of two scores may be off
    size = prepared.scores_of.shape[2]
    block_size = size if size % _BLOCK else _BLOCK
    for start in range(0, len(now), _TILE):
        part = slice(start, start + _TILE)
        scores = now[part] @ prepared.scores_of[level]
        if heaviest:
            scores -= prepared.half_sq_norms[level]
        blocks = scores.unflatten(1, (-1, block_size))
        maxima = blocks.amax(dim=2)  # so that only the best block is looked through again
        least = maxima.amax(dim=1, keepdim=True) - widths[part, None]
        best = maxima.argmax(dim=1)
        inside = blocks.gather(1, best[:, None, None].expand(-1, 1, block_size)).squeeze(1)
        codes[part, level] = best * block_size + inside.argmax(dim=1)
        several = (inside >= least).sum(1) + (maxima >= least).sum(1) > 2
        for row in several.nonzero().flatten().tolist():
            candidates = (scores[row] >= least[row]).nonzero().flatten().tolist()
            token = start + row
            codes[token, level] = _settle(z[token], codes[token, :level], candidates, prepared)


def _settle(
    z: Tensor,  # [D] float32
    earlier: Tensor,  # [l] int64: the codes of the levels before
    candidates: list[int],  # ascending
    prepared: Prepared,
) -> int:
    level = len(earlier)
    searched, half = prepared.searched[level], prepared.half_sq_norms[level]
    first = candidates[0]
    if all(torch.equal(searched[first], searched[other]) for other in candidates[1:]):
        return first
    residual = _fractions(z)
    for depth, code in enumerate(earlier.tolist()):
        group = prepared.levels[depth]
        word = _fractions(group.words[code])
        for i, (row, bias) in enumerate(
            zip(group.out.tolist(), group.out_bias.tolist(), strict=True)
        ):
            residual[i] -= _dot(_exactly(row), word) + Fraction(bias)
    group = prepared.levels[level]
    seen = [
        _dot(_exactly(row), residual) + Fraction(bias)
        for row, bias in zip(group.into.tolist(), group.into_bias.tolist(), strict=True)
    ]
    with_norms = bool(half.any())

    def score(candidate: int) -> Fraction:
        word = _fractions(searched[candidate])
        return _dot(seen, word) - (_dot(word, word) / 2 if with_norms else 0)

    return max(candidates, key=score)  # the first of equals


def _fractions(x: Tensor) -> list[Fraction]:
    return _exactly(x.tolist())


def _exactly(values: list[float]) -> list[Fraction]:
    return [Fraction(value) for value in values]


def _dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


_library.define(
    "projected_codes(Tensor z, Tensor[] levels, int handle, bool cosine) -> (Tensor, Tensor)"
)


def _projected_codes(
    z: Tensor,  # [..., D]
    levels: list[Tensor],  # the parts of all levels in turn
    handle: int,
    cosine: bool,
) -> tuple[Tensor, Tensor]:  # [..., L] int64, [..., L, d] float32
    owner = _alive.get(handle)
    if owner is None:  # a program that was exported elsewhere
        owner = LiveProjections(cosine=cosine)
    prepared = owner._prepared(levels)
    codes, seen = search(z.reshape(-1, z.shape[-1]).float(), prepared)
    shape = z.shape[:-1]
    return codes.reshape(*shape, -1), seen.float().reshape(*shape, *seen.shape[1:])


for _device in ("CPU", "CUDA"):
    _library.impl("projected_codes", _projected_codes, _device)


@register_fake("craft::projected_codes", lib=_library)
def _(z, levels, handle, cosine):
    depth = len(levels) // len(Level._fields)
    short = levels[0].shape[0]
    return (
        z.new_empty((*z.shape[:-1], depth), dtype=torch.int64),
        z.new_empty((*z.shape[:-1], depth, short), dtype=torch.float32),
    )
