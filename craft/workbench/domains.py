"""Build domains from a user's own data, checked for the models that will read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from craft.data.domains.building import build_domain
from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.distractors import hardest, read_foci, with_options
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import DomainManifest
from craft.data.domains.user_data import DataRequest
from craft.data.wording import Wording
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.settings.choices import Distractors
from craft.workbench.hard_distractors import class_similarity
from craft.workbench.words import require_readable


def new_domain(
    request: DataRequest,
    family: ModelFamily,
    *,
    language_models: Sequence[str] = (),
    text_tokenizer: PreTrainedTokenizerBase | None = None,
    distractors: Distractors = "random",
    option_file: Path | None = None,
) -> tuple[Domain, DomainManifest]:
    """Read data, decide how it becomes a domain, and build the domain.

    Args:
        language_models: names of the language models that will read and answer it.
        text_tokenizer: SigLIP's tokenizer, if it will read the contrastive texts.
        distractors: wrong options of the test questions: drawn at random, or the classes that the
            pretrained SigLIP pair finds most similar to each image.
        option_file: file with the options instead, in the layout of FOCI-Benchmark.

    Raises:
        DataError, CraftError: see :class:`~craft.data.domains.user_data.DataRequest`; words that
            its readers do not know; distractors for data that has its own questions, or chosen in
            two ways.
    """
    if distractors == "hard" and option_file is not None:
        raise CraftError("--distractors hard and --option-file both choose wrong options; give one")
    if distractors == "hard":
        _ = family.tokenizer  # fails before data is read if it is missing
    records = request.read()
    manifest = request.manifest(records)
    wording = Wording.of_records(records, manifest)
    require_readable(wording, family, language_models, text_tokenizer)
    domain = build_domain(records, manifest, family.image_size)
    if distractors == "random" and option_file is None:
        return domain, manifest
    if not isinstance(domain, ClassDomain):
        raise CraftError("this data has its own questions; distractors are for data with classes")
    if option_file is not None:
        return with_options(domain, manifest, read_foci(option_file, domain), "file")
    similarity = class_similarity(family.siglip, family.tokenizer, domain.test, domain.classes)
    wrong = hardest(similarity, domain.test.labels, domain.classes)
    return with_options(domain, manifest, wrong, "hard")
