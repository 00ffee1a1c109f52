"""The pocket models as shipped: a SigLIP pair, its codebook, language models aligned to it."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, SiglipConfig, SiglipModel

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.aligned_language_model import CARD, AlignedLanguageModel
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig

MANIFEST = "manifest.json"
CODEBOOK = "codebook.safetensors"
PRIOR = "general_prior.safetensors"
SIGLIP = "siglip"
FAMILIES = ("qwen2", "llama", "phi")


class ModelFamily:
    """A directory of models that share one codebook.

    Args:
        directory: holds ``codebook.safetensors``, ``siglip/`` and one directory a language model.

    Raises:
        CraftError: the directory is not one.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        missing = [x for x in (CODEBOOK, f"{SIGLIP}/config.json") if not (directory / x).is_file()]
        if missing:
            raise CraftError(
                f"{directory} holds no models: {' and '.join(missing)} missing; leave --models out "
                "to use the models that come with the package"
            )
        names = sorted(path.parent.name for path in directory.glob(f"*/{CARD}"))
        first = [name for name in FAMILIES if name in names]
        self.names = (*first, *(name for name in names if name not in first))
        self._lvlms: dict[str, AlignedLanguageModel] = {}

    @classmethod
    def load(cls, directory: Path | str | None = None) -> ModelFamily:
        """Open ``directory``, or the models that come with the package."""
        if directory is None:
            directory = Path(str(files("craft.pocket") / "weights"))
        return cls(Path(directory))

    @cached_property
    def codebook(self) -> Codebook:
        return Codebook.load(self.directory / CODEBOOK)

    @cached_property
    def siglip(self) -> SiglipModel:
        """The frozen pair, float32."""
        model = SiglipModel.from_pretrained(self.directory / SIGLIP, dtype=torch.float32)
        return model.eval().requires_grad_(False)

    @property
    def image_size(self) -> int:
        """Side of the encoder's images, in pixels."""
        config: Any = SiglipConfig.from_pretrained(self.directory / SIGLIP)
        return int(config.vision_config.image_size)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """SigLIP's.

        Raises:
            CraftError: there is none, as in converted checkpoints that came without.
        """
        if not (self.directory / SIGLIP / "tokenizer_config.json").is_file():
            raise CraftError(
                f"{self.directory / SIGLIP} holds no tokenizer of SigLIP's; put one there, or "
                "train without texts: --set lambda_con=0"
            )
        return AutoTokenizer.from_pretrained(self.directory / SIGLIP)

    def text_tokenizer(self, config: CraftConfig) -> PreTrainedTokenizerBase | None:
        """SigLIP's tokenizer, if training with these settings contrasts images with texts."""
        contrasts = METHODS[config.method].regularized and config.lambda_con != 0
        return self.tokenizer if contrasts else None

    def language_model(self, name: str) -> AlignedLanguageModel:
        """A language model with its projector, frozen.

        Raises:
            CraftError: no such model.
            CodebookMismatchError: it was aligned to another codebook.
        """
        if name not in self.names:
            raise CraftError(
                f"language model must be one of {list(self.names)} (in {self.directory}), "
                f"got {name!r}"
            )
        if name not in self._lvlms:
            lvlm = AlignedLanguageModel.from_pretrained(self.directory / name)
            self.codebook.require_fingerprint(lvlm.codebook_fingerprint)
            self._lvlms[name] = lvlm
        return self._lvlms[name]

    def pretrained_tower(self) -> DiscreteVisionTower:
        """A copy of the pretrained encoder, for zero-shot use or to be adapted."""
        vision = copy.deepcopy(self.siglip.vision_model)
        return DiscreteVisionTower.from_siglip(vision, self.codebook).eval()

    def lvlm(self, name: str) -> DiscreteLVLM:
        """The pretrained encoder and a language model as one checkpoint of the general classes."""
        return DiscreteLVLM.from_parts(self.pretrained_tower(), self.language_model(name))

    def general_prior(self) -> TokenPrior:
        """First-level code frequencies of the general world under the pretrained encoder."""
        return TokenPrior.load(self.directory / PRIOR)

    def changed_files(self) -> list[str]:
        """Files that are not what the manifest says, by SHA-256; empty when all is well."""
        listed = json.loads((self.directory / MANIFEST).read_text())["files"]
        return [name for name, known in listed.items() if file_hash(self.directory / name) != known]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or "missing"."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
