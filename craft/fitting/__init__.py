"""Codebooks made here: residual k-means with the exact nearest-codeword search inside."""

from craft.fitting.fit import fit_codebook
from craft.fitting.lloyd import Iteration
from craft.fitting.rows import FeatureFile

__all__ = ["FeatureFile", "Iteration", "fit_codebook"]
