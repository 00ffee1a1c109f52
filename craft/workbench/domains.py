"""Domains of a user's own data, ready for the pocket models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from craft.data.domains.building import build_domain
from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.distractors import hardest, read_foci, with_options
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import MANIFEST, DomainManifest
from craft.data.domains.user_data import DataRequest, reopen
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.models.vocabulary import require_answers
from craft.pocket.domains import load_domain
from craft.workbench.hard_distractors import class_similarity


def new_domain(
    request: DataRequest,
    models: ModelFamily,
    *,
    distractors: Literal["random", "hard"] = "random",
    option_file: Path | None = None,
) -> tuple[Domain, DomainManifest]:
    """Read data, decide how it becomes a domain, and build that.

    Args:
        distractors: of the test questions: drawn, or the classes each image resembles most to the
            pretrained SigLIP pair.
        option_file: instead, options in the layout of FOCI-Benchmark.

    Raises:
        DataError, CraftError: see :class:`~craft.data.domains.user_data.DataRequest`; answers the
            language models have no words for; options for data that has questions of its own.
    """
    records = request.read()
    manifest = request.manifest(records)
    domain = build_domain(records, manifest, models.image_size)
    for name in models.names:
        require_answers(models.language_model(name).tokenizer, domain.answers, name)
    if distractors == "random" and option_file is None:
        return domain, manifest
    if not isinstance(domain, ClassDomain):
        raise CraftError("this data has questions of its own; distractors are for data of classes")
    if option_file is not None:
        return with_options(domain, manifest, read_foci(option_file, domain), "file")
    similarity = class_similarity(models.siglip, models.tokenizer, domain.test, domain.classes)
    wrong = hardest(similarity, domain.test.labels, domain.classes)
    return with_options(domain, manifest, wrong, "hard")


def open_pack(
    directory: Path,
    models: ModelFamily,
    *,
    name: str | None = None,
    data: Path | None = None,
) -> tuple[EncoderPack, Domain]:
    """A pack, and the domain to examine it on: the one asked for, or the one it was made for.

    Args:
        directory: of the pack; holds a manifest if it was made for a user's data.
        name: a domain of the pocket world to use instead.
        data: where the pack's data lies now.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        DataError: the data changed since the pack was made.
        CraftError: nothing says which domain, or ``data`` for a pack of the pocket world.
    """
    pack = EncoderPack.load(directory, models.pretrained_tower)
    models.codebook.require_fingerprint(pack.codebook_fingerprint)
    manifest, made_for = directory / MANIFEST, pack.notes.get("domain")
    if data is not None and not manifest.is_file():
        raise CraftError(
            f"{directory} holds no {MANIFEST}: it was not adapted to data of yours, so nothing "
            "says which classes it has seen; adapt with --data first"
        )
    if name is None and manifest.is_file():
        return pack, reopen(DomainManifest.load(manifest), models.image_size, data)
    if name is None and made_for is None:
        raise CraftError("the pack does not say which domain it was made for; choose --domain")
    return pack, load_domain(name or made_for or "")
