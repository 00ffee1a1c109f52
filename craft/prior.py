"""Token priors: how often a domain uses each code, which tells rare visual tokens from common."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from craft.codebook import Codebook, CodebookMismatchError, shorten
from craft.errors import CraftError
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import read_tensors
from craft.runtime.whole_file import write_tensors

_FORMAT = "craft-token-prior-2"
_WITHOUT_CHECKSUM = "craft-token-prior-1"  # of earlier versions


class EncoderMismatchWarning(UserWarning):
    """A prior counted with one encoder, or in one precision, is used with another."""


class TokenPrior:
    """Counts of the codes of one level, and their smoothed frequencies.

    Args:
        counts: [K] int64, >= 0. Copied.
        codebook_fingerprint: of the codebook the codes belong to.
        encoder_hash: of the encoder that produced them.
        level: which level was counted, from 1.
        smoothing: a of p(k) = (count_k + a) / (total + a K).
        precision: how the codes were computed: "exact" by `quantize`, or a foreign model's own way.
    """

    def __init__(
        self,
        counts: Tensor,  # [K]
        *,
        codebook_fingerprint: str,
        encoder_hash: str,
        level: int = 1,
        smoothing: float = 1.0,
        precision: str = "exact",
    ) -> None:
        if counts.ndim != 1 or counts.dtype != torch.int64 or counts.numel() == 0:
            raise CraftError(f"counts must be [K] int64, got {tuple(counts.shape)} {counts.dtype}")
        if counts.min() < 0:
            raise CraftError(f"counts must be >= 0, got {counts.min().item()}")
        if level < 1:
            raise CraftError(f"level counts from 1, got {level}")
        if not 0 <= smoothing < float("inf"):
            raise CraftError(f"smoothing must be finite and >= 0, got {smoothing}")
        with torch.inference_mode(False):  # whose tensors have no version counter
            self.counts = counts.cpu().clone()
        self.codebook_fingerprint = codebook_fingerprint
        self.encoder_hash = encoder_hash
        self.level = level
        self.smoothing = smoothing
        self.precision = precision
        self._placed: dict[torch.device, tuple[tuple[int, int, float], Tensor]] = {}

    @classmethod
    def empty(
        cls,
        codebook: Codebook,
        *,
        encoder_hash: str,
        level: int = 1,
        smoothing: float = 1.0,
        precision: str = "exact",
    ) -> TokenPrior:
        """A prior over the codes of `codebook` with nothing counted yet."""
        return cls(
            torch.zeros(codebook.size, dtype=torch.int64),
            codebook_fingerprint=codebook.fingerprint,
            encoder_hash=encoder_hash,
            level=level,
            smoothing=smoothing,
            precision=precision,
        )

    @classmethod
    def count(
        cls,
        batches: Iterable[Tensor],
        codebook: Codebook,
        *,
        encoder_hash: str,
        level: int = 1,
        smoothing: float = 1.0,
    ) -> TokenPrior:
        """Count all codes in `batches`, each in a shape that `update` accepts."""
        prior = cls.empty(codebook, encoder_hash=encoder_hash, level=level, smoothing=smoothing)
        for codes in batches:
            prior.update(codes)
        return prior

    @property
    def size(self) -> int:
        """K."""
        return self.counts.shape[0]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def probabilities(self) -> Tensor:  # [K] float32
        """p(k) = (count_k + a) / (total + a K), computed in float64 and rounded once."""
        mass = self.total + self.smoothing * self.size
        if mass == 0:
            raise CraftError("nothing was counted and smoothing is 0; update the prior first")
        return ((self.counts.double() + self.smoothing) / mass).float()

    def on(self, device: torch.device) -> Tensor:  # [K] float32
        """:attr:`probabilities` on a device, cached until more codes are counted."""
        state = (id(self.counts), self.counts._version, self.smoothing)
        held = self._placed.get(device)
        if held is None or held[0] != state:
            held = state, self.probabilities.to(device)
            self._placed[device] = held
        return held[1]

    def update(
        self,
        codes: Tensor,  # codes [B, N, L], of which this level is counted, or ids [N] or [B, N]
    ) -> None:
        """Count more codes, in place.

        Raises:
            CraftError: the shape or dtype is wrong, there are too few levels, or a code is outside
                [0, K).
        """
        if codes.dtype != torch.int64 or codes.ndim not in (1, 2, 3):
            raise CraftError(
                "codes must be int64 [B, N, L], or [B, N] or [N] of the counted level, "
                f"got {tuple(codes.shape)} {codes.dtype}"
            )
        if codes.ndim == 3:
            if codes.shape[-1] < self.level:
                raise CraftError(
                    f"codes have {codes.shape[-1]} levels, this prior counts {self.level}"
                )
            codes = codes[..., self.level - 1]
        if codes.numel() == 0:
            return
        lowest, highest = codes.min().item(), codes.max().item()
        if lowest < 0 or highest >= self.size:
            bad = lowest if lowest < 0 else highest
            raise CraftError(f"codes must be in [0, K) with K = {self.size}, got {bad}")
        self.counts += codes.flatten().bincount(minlength=self.size).cpu()

    def __add__(self, other: TokenPrior) -> TokenPrior:
        """Add the counts of two priors.

        Raises:
            CodebookMismatchError: the codebooks differ.
            CraftError: encoder, level, size, smoothing or precision differ.
        """
        if not isinstance(other, TokenPrior):
            return NotImplemented
        self._require_codebook(other.codebook_fingerprint)
        for name in ("size", "encoder_hash", "level", "smoothing", "precision"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise CraftError(
                    f"priors can be added only with the same {name}, got {mine!r} and {theirs!r}; "
                    "count both corpora with one encoder and the same settings"
                )
        return TokenPrior(self.counts + other.counts, **self._schema())

    def check(
        self,
        codebook_fingerprint: str,
        encoder_hash: str | None = None,
        *,
        precision: str = "exact",
    ) -> None:
        """Check that the prior suits an encoder, before using them together.

        Another codebook is an error, because its codes mean something else. Another encoder or
        precision only gives a warning, because code frequencies differ only by degrees.

        Raises:
            CodebookMismatchError: the prior was counted on another codebook.
        """
        self._require_codebook(codebook_fingerprint)
        if encoder_hash is not None and encoder_hash != self.encoder_hash:
            warnings.warn(
                f"this prior was counted with encoder {shorten(self.encoder_hash)} and is used "
                f"with {shorten(encoder_hash)}; count it again with the encoder in use",
                EncoderMismatchWarning,
                stacklevel=2,
            )
        if precision != self.precision:
            warnings.warn(
                f"this prior was counted on {self.precision} codes and is used with {precision} "
                "ones; count it again in the precision in use",
                EncoderMismatchWarning,
                stacklevel=2,
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file of the counts, with the rest and a checksum as metadata."""
        schema = {name: str(value) for name, value in self._schema().items()}
        known = {"format": _FORMAT, "checksum": _checksum(self.counts, schema)}
        write_tensors(path, {"counts": self.counts}, known | schema)

    @classmethod
    def load(cls, path: str | Path) -> TokenPrior:
        """Read a file that `save` wrote, in this version or an earlier one.

        Raises:
            StoredFileError: the file is missing, truncated, damaged or not a prior.
        """
        tensors, metadata = read_tensors(path, "a token prior")
        if metadata.get("format") not in (_FORMAT, _WITHOUT_CHECKSUM):
            raise StoredFileError(
                f"{path} is not a token prior: its format is {metadata.get('format')!r}, "
                f"expected {_FORMAT!r}; make one with TokenPrior.count(...).save(path)"
            )
        try:
            prior = cls(
                tensors["counts"],
                codebook_fingerprint=metadata["codebook_fingerprint"],
                encoder_hash=metadata["encoder_hash"],
                level=int(metadata["level"]),
                smoothing=float(metadata["smoothing"]),
                precision=metadata.get("precision", "exact"),  # absent in older files
            )
            schema = {name: metadata[name] for name in prior._schema() if name in metadata}
            unknown = {*metadata, *tensors} - {*schema, "counts", "format", "checksum"}
            if unknown:
                raise CraftError(f"it contains {sorted(unknown)[0]!r}, which no prior does")
            # Also if the format says that there is no checksum: a flipped digit would too.
            claimed = metadata.get("checksum", "no checksum")
            if (metadata["format"] == _FORMAT or "checksum" in metadata) and claimed != _checksum(
                prior.counts, schema
            ):
                raise CraftError("its content does not match its checksum")
        except (KeyError, ValueError) as error:
            raise StoredFileError(
                f"{path}, a token prior, is damaged or was edited ({error}); count it again"
            ) from error
        return prior

    def __repr__(self) -> str:
        return (
            f"TokenPrior(size={self.size}, total={self.total}, level={self.level}, "
            f"smoothing={self.smoothing}, codebook={shorten(self.codebook_fingerprint)}, "
            f"encoder={shorten(self.encoder_hash)})"
        )

    def _require_codebook(self, fingerprint: str) -> None:
        if fingerprint != self.codebook_fingerprint:
            raise CodebookMismatchError(
                f"this prior counts codes of codebook {shorten(self.codebook_fingerprint)}, not of "
                f"{shorten(fingerprint)}; count it again with the codebook in use"
            )

    def _schema(self) -> dict:
        return {
            "codebook_fingerprint": self.codebook_fingerprint,
            "encoder_hash": self.encoder_hash,
            "level": self.level,
            "smoothing": self.smoothing,
            "precision": self.precision,
        }


def _checksum(counts: Tensor, schema: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode())
    digest.update(counts.numpy().astype("<i8", copy=False).data)
    return digest.hexdigest()
