"""CRAFT inside VILA-U (Wu et al., 2024), without importing VILA-U's code.

    model = vila_u.load(path)
    prior = count_prior(model, domain_images)
    handle = patch(model, prior=prior, keep_ratio=0.8)
    model.generate_content([image, question])

It needs only torch 2.3 or newer, numpy and safetensors, so that it runs in VILA-U's own
environment; ``load_tower`` and ``convert``, which build our models, need this package's
transformers.
"""

from craft.integrations.vila_u.capture import capture
from craft.integrations.vila_u.export import export
from craft.integrations.vila_u.folding import depth_to_space, space_to_depth
from craft.integrations.vila_u.layout import UnknownLayoutError, codebook_of
from craft.integrations.vila_u.load import load_tower
from craft.integrations.vila_u.patch import Handle, patch
from craft.integrations.vila_u.prior import count_prior

__all__ = [
    "Handle",
    "UnknownLayoutError",
    "capture",
    "codebook_of",
    "count_prior",
    "depth_to_space",
    "export",
    "load_tower",
    "patch",
    "space_to_depth",
]
