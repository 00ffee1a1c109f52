"""The models: a vision tower that speaks a codebook, and language models that read its codes.

Importing this package registers them with transformers' AutoConfig and AutoModel.
"""

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.configuration import DiscreteLVLMConfig, DiscreteVisionConfig
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.encoder_pack import EncoderPack
from craft.models.projector import Projector
from craft.models.vision_tower import DiscreteVisionTower

__all__ = [
    "AlignedLanguageModel",
    "DiscreteLVLM",
    "DiscreteLVLMConfig",
    "DiscreteVisionConfig",
    "DiscreteVisionTower",
    "EncoderPack",
    "Projector",
]
