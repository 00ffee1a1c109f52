"""How LASER arrived at an answer; craft.report.laser_picture draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from craft.decoding.crop import Box
from craft.decoding.evidence import Evidence


@dataclass(frozen=True)
class Trace:
    """What LASER looked at, and what it hid from the second stream.

    Args:
        evidence: VAQ of all layers, the chosen layer and its map.
        view: the part of the original image that the map covers.
        box: the crop in pixels of the original; None if the whole view was read.
        masked: the cells hidden from the second stream [h, w], bool.
        fallback: whether there was no evidence, so that the answer is the plain one.
    """

    evidence: Evidence
    view: Box
    box: Box | None
    masked: Tensor
    fallback: bool

    def to_dict(self) -> dict[str, Any]:
        """The trace as plain lists and numbers for JSON; in a fallback no layer counts as chosen.

        VAQ and map are float32, so JSON represents them exactly.
        """
        return {
            "layer": None if self.fallback else self.evidence.layer,
            "vaq": self.evidence.vaq.tolist(),
            "map": self.evidence.map.tolist(),
            "view": list(self.view),
            "box": None if self.box is None else list(self.box),
            "masked": self.masked.nonzero().tolist(),
            "fallback": self.fallback,
        }
