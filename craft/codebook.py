"""The frozen codebook: the vocabulary that an encoder and every language model on it must share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import read_tensors
from craft.runtime.whole_file import write_tensors
from craft_kernels import FrozenCodebook

_FORMAT = "craft-codebook-1"


class CodebookMismatchError(CraftError):
    """Codes of one codebook met something made for another."""


class Codebook:
    """An immutable table of codewords with a fingerprint.

    Args:
        table: [K, D], shared by all levels, or [L, K, D], one per level; float32, or bfloat16 or
            float16, which convert exactly; finite. It is copied.
        levels: L, the number of residual levels. Needed for [K, D]; implied by [L, K, D].
        subset: search in these codewords only. It is the same codebook, with the same fingerprint
            and the same numbers of its codewords; quantising just never meets the others.

    Two codebooks are equal if their fingerprints are. They can be pickled and deep-copied; both
    check the fingerprint again.

    Nothing public hands out the memory of the codewords: `table` is a copy, and writing to it, by
    torch, `.data`, `.numpy()` or its storage, changes neither codes nor fingerprint. Code that
    reaches for private attributes or writes to the process's memory from elsewhere is not kept out:
    `verify`, which `save` and the end of a training run call, hashes all codewords and notices any
    change; a quantising call notices only in-place operations of torch.

    Raises:
        CraftError: for a table or a number of levels that cannot be used, and what to do.
    """

    def __init__(
        self,
        table: Tensor,  # [K, D] or [L, K, D]
        levels: int | None = None,
        subset: CodebookSubset | None = None,
    ) -> None:
        self._frozen = FrozenCodebook(table, levels)
        if self._frozen.levels is None:
            raise CraftError(
                f"levels is needed for a codebook shared by all levels, {tuple(table.shape)}; "
                "pass levels=4 for VILA-U's"
            )
        self._levels = self._frozen.levels
        self._fingerprint = _fingerprint(self._frozen.tensor, self._levels)
        self._copies: dict[torch.device, FrozenCodebook] = {}
        self._tables: dict[torch.device, Tensor] = {}
        self._subset = subset
        self._used = None if subset is None else subset.ids(self.size)

    def on(self, device: torch.device) -> FrozenCodebook:
        """What quantisation calls on a device share; made when that device is first asked for.

        Of a subset, its k codewords alone: code i of these is codeword ``used[i]``.
        """
        if self._used is None and device == self._frozen.device:
            return self._frozen
        if device not in self._copies:
            self._copies[device] = FrozenCodebook(self._searched().to(device), self._levels)
        return self._copies[device]

    def _searched(self) -> Tensor:  # [k, D] or [L, k, D]
        table = self._frozen.tensor
        return table if self._used is None else table[..., self._used, :]

    def _words(self, codes: Tensor, level: int) -> Tensor:  # [...] -> [..., D]
        """Codewords of one level, on the device of ``codes``; also those that are not searched."""
        if codes.device == self._frozen.device:
            return self._frozen.words(codes, level)
        if self._used is None and codes.device in self._copies:
            return self._copies[codes.device].words(codes, level)
        if codes.device not in self._tables:
            self._tables[codes.device] = self.table.to(codes.device)
        table = self._tables[codes.device]
        return F.embedding(codes, table if self.shared else table[level])

    @property
    def subset(self) -> CodebookSubset | None:
        """What quantising searches in; None for the whole codebook."""
        return self._subset

    @property
    def used(self) -> Tensor | None:  # [k] int64
        """The numbers of the subset's codewords, ascending; None for the whole codebook. A copy."""
        return None if self._used is None else self._used.clone()

    def restrict(self, subset: CodebookSubset | None) -> Codebook:
        """This codebook, searched in ``subset`` only, or again as a whole."""
        if subset == self._subset:
            return self
        return Codebook(self._frozen.tensor, self._levels, subset)

    @property
    def table(self) -> Tensor:  # [K, D] or [L, K, D] float32
        """A copy of the codewords: torch has no read-only tensors, so writing to a view would move
        the codebook."""
        return self._frozen.tensor

    @property
    def shared(self) -> bool:
        """One table serves all levels."""
        return len(self._frozen.shape) == 2

    @property
    def levels(self) -> int:
        return self._levels

    @property
    def size(self) -> int:
        """K, the number of codewords of a level."""
        return self._frozen.shape[-2]

    @property
    def dim(self) -> int:
        return self._frozen.shape[-1]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over values, shape, levels and sharing, in hexadecimal."""
        return self._fingerprint

    def lookup(
        self,
        codes: Tensor,  # [..., l] int64 or int32, 1 <= l <= L
    ) -> Tensor:  # [..., D] float32, on the device of codes
        """Sum of the codewords of the first l levels, added in order of level as `quantize` does.

        Raises:
            CraftError: for more levels than the codebook has, or none.
            IndexError: for a code outside [0, K).
        """
        self._require_levels(codes)
        total = self._words(codes[..., 0], 0)
        for level in range(1, codes.shape[-1]):
            total = total + self._words(codes[..., level], level)
        return total

    def lookup_levels(
        self,
        codes: Tensor,  # [..., l] int64, 1 <= l <= L
    ) -> Tensor:  # [..., l, D] float32
        """The codeword of each level by itself; their sum in order of level is :meth:`lookup`.

        Raises:
            CraftError: for more levels than the codebook has, or none.
            IndexError: for a code outside [0, K).
        """
        self._require_levels(codes)
        words = [self._frozen.words(codes[..., level], level) for level in range(codes.shape[-1])]
        return torch.stack(words, -2)

    def _require_levels(self, codes: Tensor) -> None:
        if codes.ndim == 0 or not 1 <= codes.shape[-1] <= self._levels:
            raise CraftError(
                f"codes must be [..., l] with 1 <= l <= {self._levels}, got {tuple(codes.shape)}"
            )

    def require_fingerprint(self, expected: str) -> None:
        """Raises CodebookMismatchError unless `expected`, in full, is this codebook's."""
        if expected != self._fingerprint:
            raise CodebookMismatchError(
                f"codebook {shorten(self._fingerprint)} is not the expected {shorten(expected)}: "
                "an encoder, a prior and a language model work together only on the codebook they "
                "were trained with; load the one that belongs to this model"
            )

    def verify(self) -> None:
        """Raises CodebookMismatchError if the codewords in memory are not the original ones."""
        searched = self._fingerprint
        if self._used is not None:
            searched = _fingerprint(self._searched(), self._levels)
        expected = {self._frozen: self._fingerprint} | dict.fromkeys(
            self._copies.values(), searched
        )
        for frozen, known in expected.items():
            found = _fingerprint(frozen.tensor, self._levels)
            if found != known:
                raise CodebookMismatchError(
                    f"codebook {shorten(known)} was changed in memory and is now "
                    f"{shorten(found)}; find what wrote to it and load the codebook again"
                )

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file with the fingerprint in its metadata."""
        self.verify()
        metadata = {
            "format": _FORMAT,
            "levels": str(self._levels),
            "fingerprint": self._fingerprint,
        }
        write_tensors(path, {"codebook": self._frozen.tensor}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Codebook:
        """Reads what `save` wrote.

        Raises:
            StoredFileError: not a codebook file, or one that is missing, cut short or damaged.
            CodebookMismatchError: the values are not those the stored fingerprint was made of.
        """
        (tensors, metadata) = read_tensors(path, "the codebook")
        if metadata.get("format") != _FORMAT:
            raise StoredFileError(
                f"{path} is not a codebook file: its format is {metadata.get('format')!r}, "
                f"expected {_FORMAT!r}; make one with Codebook(table, levels).save(path)"
            )
        try:
            codebook = cls(tensors["codebook"], int(metadata["levels"]))
            claimed = metadata["fingerprint"]
        except (KeyError, ValueError) as error:
            raise StoredFileError(
                f"{path}, the codebook, is damaged or was edited ({error}); get the file again"
            ) from error
        if codebook.fingerprint != claimed:
            raise CodebookMismatchError(
                f"{path} is damaged or was edited: it claims fingerprint {shorten(claimed)} but "
                f"its values have {shorten(codebook.fingerprint)}; get the file again"
            )
        return codebook

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codebook):
            return NotImplemented
        return self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __reduce__(self):
        return _rebuild, (self._frozen.tensor, self._levels, self._fingerprint, self._subset)

    def __repr__(self) -> str:
        kind = "shared" if self.shared else "one per level"
        part = "" if self._used is None else f", {len(self._used)} of them used"
        return (
            f"Codebook({shorten(self._fingerprint)}, {self.levels} levels, {kind}, "
            f"size={self.size}{part}, dim={self.dim})"
        )


def shorten(fingerprint: str) -> str:
    """The first 12 digits of a fingerprint, for messages; comparisons use all of it."""
    return fingerprint[:12]


def _rebuild(
    table: Tensor, levels: int, fingerprint: str, subset: CodebookSubset | None
) -> Codebook:
    codebook = Codebook(table, levels, subset)
    codebook.require_fingerprint(fingerprint)
    return codebook


def _fingerprint(table: Tensor, levels: int) -> str:
    header = {"format": _FORMAT, "shape": list(table.shape), "levels": levels}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    with torch.no_grad():
        digest.update(table.detach().cpu().contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


SubsetKind = Literal["random", "stride"]


@dataclass(frozen=True)
class CodebookSubset:
    """A uniform choice of codewords, the same at every level (methods A11).

    Codes keep their numbers, as if all others were infinitely far away, so language models and
    priors of the whole codebook go on to work.

    Args:
        fraction: share of the codewords, in (0, 1]; at least one remains.
        kind: "random" draws them by ``seed``; "stride" takes every so many-th.

    Raises:
        CraftError: a fraction outside (0, 1], or no such kind.
    """

    fraction: float
    kind: SubsetKind = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise CraftError(f"fraction must be in (0, 1], got {self.fraction}")
        if self.kind not in ("random", "stride"):
            raise CraftError(f"kind must be 'random' or 'stride', got {self.kind!r}")

    def ids(self, size: int) -> Tensor:  # [k] int64, ascending
        """Which of ``size`` codewords remain; ascending, so that ties go to the lowest of them."""
        count = max(1, round(self.fraction * size))
        if self.kind == "stride":
            return torch.arange(count) * size // count
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(size, generator=generator)[:count].sort().values
