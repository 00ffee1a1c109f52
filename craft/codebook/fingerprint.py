"""Fingerprints, which identify a codebook by its contents."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor

from craft.errors import CraftError

FORMAT = "craft-codebook-1"


class CodebookMismatchError(CraftError):
    """Something made for one codebook was combined with another codebook."""


def shorten(fingerprint: str) -> str:
    """First 12 digits of a fingerprint, for messages; comparisons use all of it."""
    return fingerprint[:12]


def hash_codewords(table: Tensor, levels: int) -> str:
    """SHA-256 over values, shape, levels and sharing, in hexadecimal."""
    header = {"format": FORMAT, "shape": list(table.shape), "levels": levels}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    with torch.no_grad():
        digest.update(table.detach().cpu().contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()
