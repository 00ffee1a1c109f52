"""A name that torch changed in 2.4, so that ops can be registered with torch 2.3 as well."""

from __future__ import annotations

from typing import Any

import torch

#: Registers the function that gives an op's outputs for fake tensors.
register_fake: Any = getattr(torch.library, "register_fake", None)
if register_fake is None:
    register_fake = torch.library.impl_abstract
