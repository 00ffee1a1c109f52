"""Domains of a user's own data, ready for a family of family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from craft.data.domains.building import build_domain
from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.distractors import hardest, read_foci, with_options
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import MANIFEST, DomainManifest
from craft.data.domains.user_data import DataRequest, reopen
from craft.data.wording import Wording
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.workbench.hard_distractors import class_similarity
from craft.workbench.words import require_readable


def new_domain(
    request: DataRequest,
    family: ModelFamily,
    *,
    readers: Sequence[str] = (),
    text_tokenizer: PreTrainedTokenizerBase | None = None,
    distractors: Literal["random", "hard"] = "random",
    option_file: Path | None = None,
) -> tuple[Domain, DomainManifest]:
    """Read data, decide how it becomes a domain, and build that.

    Args:
        readers: language models that will read and answer it.
        text_tokenizer: SigLIP's, if it will read the contrastive texts.
        distractors: of the test questions: drawn, or the classes each image resembles most to the
            pretrained SigLIP pair.
        option_file: instead, options in the layout of FOCI-Benchmark.

    Raises:
        DataError, CraftError: see :class:`~craft.data.domains.user_data.DataRequest`; words that
            those who will read it do not know; options for data that has questions of its own.
    """
    if distractors == "hard":
        _ = family.tokenizer  # a missing one is found before anything is read
    records = request.read()
    manifest = request.manifest(records)
    wording = Wording.of_records(records, manifest)
    require_readable(wording, family, readers, text_tokenizer)
    domain = build_domain(records, manifest, family.image_size)
    if distractors == "random" and option_file is None:
        return domain, manifest
    if not isinstance(domain, ClassDomain):
        raise CraftError("this data has questions of its own; distractors are for data of classes")
    if option_file is not None:
        return with_options(domain, manifest, read_foci(option_file, domain), "file")
    similarity = class_similarity(family.siglip, family.tokenizer, domain.test, domain.classes)
    wrong = hardest(similarity, domain.test.labels, domain.classes)
    return with_options(domain, manifest, wrong, "hard")


def domain_of(directory: Path, family: ModelFamily, data: Path | None = None) -> Domain | None:
    """The domain of a user's own data that a pack was adapted to; None if it was to no such data.

    Args:
        directory: of the pack; its manifest says where the data lies and what is in it.
        data: where the data lies now, if it was moved.

    Raises:
        DataError: the data changed since the pack was made.
        CraftError: the data was moved; ``data`` for a pack that holds no manifest.
    """
    manifest = directory / MANIFEST
    if manifest.is_file():
        known = DomainManifest.load(manifest)
        if data is None and not known.from_hub and not Path(known.source).exists():
            raise CraftError(
                f"{directory} was adapted to the data at {known.source}, where nothing is now; say "
                "where it lies with --data PATH"
            )
        return reopen(known, family.image_size, data)
    if data is not None:
        raise CraftError(
            f"{directory} holds no {MANIFEST}: it was not adapted to data of yours, so nothing "
            "says which classes it has seen; adapt with --data first"
        )
    return None
