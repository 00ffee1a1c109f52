"""The frozen codebook, the vocabulary shared by an encoder and its language models."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from craft.codebook.fingerprint import FORMAT, CodebookMismatchError, hash_codewords, shorten
from craft.codebook.subset import CodebookSubset
from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import read_tensors
from craft.runtime.whole_file import write_tensors
from craft_kernels import FrozenCodebook


class Codebook:
    """An immutable table of codewords with a fingerprint.

    Args:
        table: [K, D], shared by all levels, or [L, K, D], one per level; finite, in float32 or in
            bfloat16 or float16, which convert exactly. It is copied.
        levels: L, the number of residual levels. Required for [K, D]; implied by [L, K, D].
        subset: search only these codewords. The codebook keeps its fingerprint and the numbering of
            its codewords; quantisation just never chooses the others.

    Two codebooks are equal if their fingerprints are. They can be pickled and deep-copied; both
    check the fingerprint again.

    No public member exposes the memory of the codewords: `table` is a copy, and writing to it
    through torch, `.data`, `.numpy()` or its storage changes neither codes nor fingerprint. Code
    that uses private attributes or writes to the process's memory can still change them: `verify`,
    called by `save` and at the end of training, hashes all codewords and detects any change;
    quantisation detects only torch's in-place operations.

    Raises:
        CraftError: the table or the number of levels cannot be used.
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
        self._fingerprint = hash_codewords(self._frozen.tensor, self._levels)
        self._copies: dict[torch.device, FrozenCodebook] = {}
        self._tables: dict[torch.device, Tensor] = {}
        self._subset = subset
        self._used = None if subset is None else subset.ids(self.size)

    def on(self, device: torch.device) -> FrozenCodebook:
        """The searched codewords on a device, made on first use and shared by all calls there.

        For a subset these are its k codewords only: their code i is codeword ``used[i]``.
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
        """Codewords of one level, also those not searched, on the device of ``codes``."""
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
        """The subset that quantisation searches; None for the whole codebook."""
        return self._subset

    @property
    def used(self) -> Tensor | None:  # [k] int64
        """A copy of the subset's codeword numbers, ascending; None for the whole codebook."""
        return None if self._used is None else self._used.clone()

    def restrict(self, subset: CodebookSubset | None) -> Codebook:
        """This codebook restricted to ``subset``, or unrestricted if that is None."""
        if subset == self._subset:
            return self
        return Codebook(self._frozen.tensor, self._levels, subset)

    @property
    def table(self) -> Tensor:  # [K, D] or [L, K, D] float32
        """A copy of the codewords; torch has no read-only tensors, so writing to a view would
        change the codebook."""
        return self._frozen.tensor

    @property
    def shared(self) -> bool:
        """Whether one table serves all levels."""
        return len(self._frozen.shape) == 2

    @property
    def levels(self) -> int:
        return self._levels

    @property
    def size(self) -> int:
        """K, the number of codewords per level."""
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
        """Sum of the codewords of the first l levels, added in order of level as in `quantize`.

        Raises:
            CraftError: ``codes`` has no levels, or more than the codebook.
            IndexError: a code is outside [0, K).
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
        """The codeword of each level; their sum in order of level is :meth:`lookup`.

        Raises:
            CraftError: ``codes`` has no levels, or more than the codebook.
            IndexError: a code is outside [0, K).
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
        """Raise CodebookMismatchError unless `expected` is this codebook's full fingerprint."""
        if expected != self._fingerprint:
            raise CodebookMismatchError(
                f"codebook {shorten(self._fingerprint)} is not the expected {shorten(expected)}: "
                "an encoder, a prior and a language model work together only on the codebook they "
                "were trained with; load the one that belongs to this model"
            )

    def verify(self) -> None:
        """Raise CodebookMismatchError if the codewords in memory are not the original ones."""
        searched = self._fingerprint
        if self._used is not None:
            searched = hash_codewords(self._searched(), self._levels)
        expected = {self._frozen: self._fingerprint} | dict.fromkeys(
            self._copies.values(), searched
        )
        for frozen, known in expected.items():
            found = hash_codewords(frozen.tensor, self._levels)
            if found != known:
                raise CodebookMismatchError(
                    f"codebook {shorten(known)} was changed in memory and is now "
                    f"{shorten(found)}; find what wrote to it and load the codebook again"
                )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the fingerprint in its metadata."""
        self.verify()
        metadata = {
            "format": FORMAT,
            "levels": str(self._levels),
            "fingerprint": self._fingerprint,
        }
        write_tensors(path, {"codebook": self._frozen.tensor}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Codebook:
        """Read a file written by `save`.

        Raises:
            StoredFileError: the file is missing, truncated, damaged or not a codebook.
            CodebookMismatchError: the values do not match the stored fingerprint.
        """
        (tensors, metadata) = read_tensors(path, "the codebook")
        if metadata.get("format") != FORMAT:
            raise StoredFileError(
                f"{path} is not a codebook file: its format is {metadata.get('format')!r}, "
                f"expected {FORMAT!r}; make one with Codebook(table, levels).save(path)"
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


def _rebuild(
    table: Tensor, levels: int, fingerprint: str, subset: CodebookSubset | None
) -> Codebook:
    codebook = Codebook(table, levels, subset)
    codebook.require_fingerprint(fingerprint)
    return codebook
