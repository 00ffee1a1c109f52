"""File names inside a family's directory; no other module spells them out."""

from __future__ import annotations

MANIFEST = "manifest.json"
CODEBOOK = "codebook.safetensors"
#: The pretrained encoder's first-level code frequencies of general images.
PRIOR = "general_prior.safetensors"
SIGLIP = "siglip"
