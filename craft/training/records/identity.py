"""A run's identity: everything that its result depends on.

A checkpoint is resumed only by a run with the same identity. Models and data are compared by
content: their locations and file names may change.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase, SiglipModel

from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.images.image_set import ImageSet
from craft.data.images.store import digests
from craft.data.questions import QuestionSet
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.strict_text import parse_json
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.value_hash import value_hash
from craft.training.records.checkpoint import Checkpoint

#: Sections that may differ between a run and its continuation because they change no result.
_FREE = ("checkpoint", "hardware", "log")
#: Fields of a manifest that affect results; the rest records locations and reports.
_DECIDED = ("content", "kind", "subject", "classes", "parts", "distractors", "options")


def models_identity(
    tower: DiscreteVisionTower,
    surrogate: AlignedLanguageModel,
    siglip: SiglipModel,
    text_tokenizer: PreTrainedTokenizerBase | None = None,
) -> dict[str, str]:
    """Hashes of the models a run starts from: part -> hash of weights, config and tokenizer."""
    template = surrogate.template.to_dict()
    return {
        "encoder": value_hash(tensor_hash(tower.state_dict()), _settings(tower.config)),
        "codebook": tower.codebook.fingerprint,
        "language model": value_hash(
            tensor_hash(surrogate.language_model.state_dict()),
            _settings(surrogate.language_model.config),
            tensor_hash(surrogate.projector.state_dict()),
            template,
            _words(surrogate.tokenizer),
        ),
        "text tower": value_hash(
            tensor_hash(siglip.state_dict()),
            _settings(siglip.config),
            _words(text_tokenizer or surrogate.tokenizer),
        ),
    }


def data_identity(
    domain: Domain,
    general: QuestionSet | None = None,
    manifest: DomainManifest | None = None,
) -> dict[str, str]:
    """Hashes of the data a run trains on, is selected by and will be tested on: part -> hash.

    Args:
        general: questions that measure forgetting.
        manifest: of a user's data; its hash covers the images as stored.
    """
    lessons = (domain.lesson(i, random.Random(i), 0.5) for i in range(len(domain)))
    found = {
        "domain": domain.name,
        "training images": _images(domain.train),
        "validation images": _images(domain.val),
        "test images": _images(domain.test),
        "lessons": value_hash(domain.contrastive_weight, domain.texts, *lessons),
        "validation questions": value_hash(*map(asdict, domain.questions(domain.val))),
        "test questions": value_hash(*map(asdict, domain.questions(domain.test))),
        "held-out classes": value_hash(sorted(domain.heldout)),
        "general questions": "",
    }
    if general is not None:
        asked = map(asdict, general.questions)
        found["general questions"] = value_hash(digests(general.images), *asked)
    if manifest is not None:
        held = manifest.model_dump(mode="json")
        found |= {f"{name} in domain.json": value_hash(held[name]) for name in _DECIDED}
    return found


def require_same_run(
    found: Checkpoint, wanted: Mapping[str, Any], identity: Mapping[str, str]
) -> None:
    """Raise CraftError, naming what differs, unless a checkpoint belongs to this run.

    Args:
        wanted: the settings as the run records them.
    """
    written = found.state["config"]
    other = [n for n in wanted if n not in _FREE and written.get(n) != wanted[n]]
    if other:
        changes = ", ".join(f"{n}: {written.get(n)!r} -> {wanted[n]!r}" for n in other)
        raise CraftError(
            f"the checkpoint of step {found.step} was made with other settings ({changes}); "
            "resume with the same ones, or start over in another directory"
        )
    known = found.state["identity"]
    other = [n for n in {**known, **identity} if known.get(n) != identity.get(n)]
    if other:
        raise CraftError(
            f"the checkpoint of step {found.step} belongs to another run: not the same "
            f"{', '.join(other)}; resume with the models, data and options it began with, or start "
            "over in another directory"
        )


def run_hash(settings: Mapping[str, Any], identity: Mapping[str, str]) -> str:
    """What tells a whole run from others, for those that come after it."""
    return value_hash({n: x for n, x in settings.items() if n not in _FREE}, dict(identity))


def _images(part: ImageSet) -> str:
    about = (part.subject, part.ids, part.labels, part.groups, part.styles, part.captions)
    return value_hash(digests(part.images), *about)


def _settings(config: PretrainedConfig) -> dict[str, Any]:
    """A model's config without its location, the version that saved it and its kernel."""
    free = ("transformers_version", "dtype", "torch_dtype", "attn_implementation")
    return {k: v for k, v in config.to_dict().items() if k not in free and not k.startswith("_")}


def _words(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Everything that determines how a text becomes ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [tokenizer.get_vocab(), tokenizer.special_tokens_map]
    rules = parse_json(backend.to_str(), foreign=True)
    # The backend also keeps the padding and truncation of the last batch.
    return {k: v for k, v in rules.items() if k not in ("padding", "truncation")}
