"""Decoding that grounds answers in the evidence for a question (LASER, arXiv 2602.04304)."""

from craft.decoding.crop import Box
from craft.decoding.discrete_reader import DiscreteReader
from craft.decoding.evidence import Evidence
from craft.decoding.laser import Grounded, laser, plain
from craft.decoding.trace import Trace
from craft.decoding.transformers_reader import TransformersReader
from craft.settings.laser import LaserSettings

__all__ = [
    "Box",
    "DiscreteReader",
    "Evidence",
    "Grounded",
    "LaserSettings",
    "Trace",
    "TransformersReader",
    "laser",
    "plain",
]
