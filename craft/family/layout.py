"""File names inside a directory of models; no other module spells them."""

from __future__ import annotations

MANIFEST = "manifest.json"
CODEBOOK = "codebook.safetensors"
#: First-level code frequencies of the general world under the pretrained encoder.
PRIOR = "general_prior.safetensors"
SIGLIP = "siglip"
