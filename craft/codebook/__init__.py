"""The frozen codebook, the vocabulary shared by an encoder and its language models."""

from craft.codebook.codebook import Codebook
from craft.codebook.fingerprint import CodebookMismatchError, shorten
from craft.codebook.subset import CodebookSubset, SubsetKind

__all__ = ["Codebook", "CodebookMismatchError", "CodebookSubset", "SubsetKind", "shorten"]
