"""A model family: an encoder, its codebook, and the language models that read its codes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase, SiglipConfig, SiglipModel

from craft.codebook import Codebook, CodebookMismatchError
from craft.errors import CraftError
from craft.family.layout import CODEBOOK, MANIFEST, PRIOR, SIGLIP
from craft.family.manifest import FamilyManifest
from craft.family.plugged import PluggedEncoder
from craft.models.aligned_language_model import CARD, AlignedLanguageModel
from craft.models.discrete_lvlm import DiscreteLVLM
from craft.models.encoder_pack import EncoderPack, made_with
from craft.models.loading import has_tokenizer, load_config, load_model, load_tokenizer
from craft.models.pack_card import LANGUAGE_MODEL
from craft.models.vision_tower import DiscreteVisionTower
from craft.prior import TokenPrior
from craft.runtime.device import choose_device
from craft.runtime.inside import inside
from craft.runtime.stored_files import file_hash, require_unchanged
from craft.settings.closest import did_you_mean
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig


class ModelFamily:
    """A directory of models that share one codebook.

    Args:
        directory: contains ``codebook.safetensors``, ``siglip/`` and one directory per language
            model.
        device: where its models are placed, see :func:`~craft.runtime.device.choose_device`.

    Raises:
        CraftError: the directory is not that of a family, or there is no such device.
    """

    def __init__(self, directory: Path, device: str | None = None):
        self.directory = directory
        self.device = choose_device(device).device
        missing = [x for x in (CODEBOOK, f"{SIGLIP}/config.json") if not (directory / x).is_file()]
        if missing:
            raise CraftError(
                f"{directory} holds no models: {' and '.join(missing)} missing; leave --models out "
                "to use the models that come with the package"
            )
        names = sorted(path.parent.name for path in directory.glob(f"*/{CARD}"))
        first = [name for name in self.manifest.language_models if name in names]
        self.names = (*first, *(name for name in names if name not in first))
        self._language_models: dict[str, AlignedLanguageModel] = {}
        self._checked: set[str] = set()

    @classmethod
    def load(cls, directory: Path | str | None = None, device: str | None = None) -> ModelFamily:
        """Open ``directory``, or the models that come with the package."""
        return cls(default_directory() if directory is None else Path(directory), device)

    @cached_property
    def manifest(self) -> FamilyManifest:
        """The content of ``manifest.json``; empty if there is no such file."""
        return FamilyManifest.load(self.directory)

    def _require_unchanged(self, part: str) -> None:
        """Raises StoredFileError if a file, or one in a folder, differs from its listed hash."""
        if part not in self._checked:
            known = {
                name: found
                for name, found in self.manifest.files.items()
                if name == part or name.startswith(f"{part}/")
            }
            require_unchanged(self.directory, known, MANIFEST)
            self._checked.add(part)

    @property
    def main(self) -> str | None:
        """The language model to use if none is named: qwen2, or the only one."""
        if "qwen2" in self.names:
            return "qwen2"
        return self.names[0] if len(self.names) == 1 else None

    @property
    def origin(self) -> str | None:
        """The absolute directory, which packs note; None for the package's own models."""
        here = self.directory.resolve()
        installed = any(True for _ in entry_points(group="craft.families", name="default"))
        return None if installed and here == default_directory().resolve() else str(here)

    @property
    def retention(self) -> str | None:
        """Name or data path of what measures forgetting, if the manifest has one."""
        return self.manifest.retention

    @cached_property
    def codebook(self) -> Codebook:
        codebook = Codebook.load(self.directory / CODEBOOK)
        self._require_unchanged(CODEBOOK)
        return codebook

    @cached_property
    def siglip(self) -> SiglipModel:
        """The frozen SigLIP pair, float32."""
        model: Any = load_model(
            SiglipModel, self.directory / SIGLIP, "the SigLIP pair", dtype=torch.float32
        )
        self._require_unchanged(SIGLIP)
        return model.to(self.device).eval().requires_grad_(False)

    @property
    def image_size(self) -> int:
        """Side length of the encoder's images, in pixels."""
        config = load_config(self.directory / SIGLIP, "the SigLIP pair", SiglipConfig)
        self._require_unchanged(SIGLIP)
        return int(config.vision_config.image_size)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """SigLIP's tokenizer.

        Raises:
            CraftError: there is none, as in checkpoints that were converted without it.
        """
        if not self.has_tokenizer:
            raise CraftError(
                f"{self.directory / SIGLIP} holds no SigLIP tokenizer; put its files there "
                "(tokenizer.json or spiece.model, and tokenizer_config.json), or adapt without "
                "contrastive texts: craft adapt --set lambda_con=0"
            )
        tokenizer = load_tokenizer(self.directory / SIGLIP, "SigLIP")
        self._require_unchanged(SIGLIP)
        return tokenizer

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a SigLIP tokenizer; VILA-U's checkpoints have none."""
        return has_tokenizer(self.directory / SIGLIP)

    def text_tokenizer(self, config: CraftConfig) -> PreTrainedTokenizerBase | None:
        """SigLIP's tokenizer, or None if training with these settings has no contrastive texts."""
        contrasts = METHODS[config.method].regularized and config.lambda_con != 0
        return self.tokenizer if contrasts else None

    def language_model(self, name: str) -> AlignedLanguageModel:
        """Load a language model with its projector, frozen.

        Raises:
            CraftError: no such model.
            CodebookMismatchError: it was aligned to another codebook.
        """
        if name not in self.names:
            raise CraftError(
                f"language model must be one of {list(self.names)} (in {self.directory}), "
                f"got {name!r}{did_you_mean(name, self.names)}"
            )
        if name not in self._language_models:
            model = AlignedLanguageModel.from_pretrained(self.directory / name)
            self._require_unchanged(name)
            model = model.to(self.device)
            self.codebook.require_fingerprint(model.codebook_fingerprint)
            self._language_models[name] = model
        return self._language_models[name]

    def pretrained_tower(self) -> DiscreteVisionTower:
        """A copy of the pretrained encoder, for zero-shot use or adaptation."""
        vision = copy.deepcopy(self.siglip.vision_model)
        return DiscreteVisionTower.from_siglip(vision, self.codebook).eval()

    def plug(self, pack: EncoderPack | Path | str | None = None) -> PluggedEncoder:
        """Join an encoder pack to this family; the only way to do so.

        Args:
            pack: a pack or its directory; None for the pretrained encoder.

        Raises:
            CraftError: not a pack, or its files were changed.
            CodebookMismatchError: the pack speaks another codebook; names both.
            EncoderMismatchError: adapters of another encoder than this family's; names both.
        """
        if pack is None:
            return PluggedEncoder(self.pretrained_tower(), self.general_prior())
        own = None
        if not isinstance(pack, EncoderPack):
            trained = Path(pack) / LANGUAGE_MODEL
            own = trained if trained.is_dir() else None
            pack = EncoderPack.load(pack, self.pretrained_tower)
        try:
            self.codebook.require_fingerprint(pack.codebook_fingerprint)
        except CodebookMismatchError as error:
            raise CodebookMismatchError(f"{error}{made_with(pack.notes)}") from error
        tower = cast(Any, pack.tower(self.codebook)).to(self.device)
        return PluggedEncoder(tower, pack.prior, pack, own)

    def lvlm(self, name: str) -> DiscreteLVLM:
        """The pretrained encoder and a language model as one transformers model."""
        return DiscreteLVLM.from_parts(self.pretrained_tower(), self.language_model(name))

    def general_prior(self) -> TokenPrior | None:
        """The pretrained encoder's first-level code frequencies of general images.

        None if the directory has none, as after a conversion.
        """
        path = self.directory / PRIOR
        prior = TokenPrior.load(path) if path.is_file() else None
        self._require_unchanged(PRIOR)
        return prior

    def changed_files(self) -> list[str]:
        """Files whose SHA-256 differs from the manifest's; empty if there are none.

        Raises:
            StoredFileError: the manifest lists files outside the directory.
        """
        what = "the manifest of the models"
        paths = {
            name: inside(self.directory, name, what, follow_links=True)
            for name in self.manifest.files
        }
        return [
            name
            for name, path in paths.items()
            if not path.is_file() or file_hash(path) != self.manifest.files[name]
        ]


def default_directory() -> Path:
    """Models that come with the package: the entry point ``default`` of ``craft.families``.

    Raises:
        CraftError: no installed package provides models.
    """
    for entry in entry_points(group="craft.families", name="default"):
        directory: Callable[[], Path] = entry.load()
        return directory()
    raise CraftError("no models are installed with the package; name a directory with --models")
