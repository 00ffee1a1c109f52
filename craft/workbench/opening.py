"""Open what callers name: models, packs and data given as paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from craft.data.domains.domain import Domain
from craft.data.domains.manifest import MANIFEST, DomainManifest
from craft.data.domains.user_data import DataRequest, reopen
from craft.data.readers import AccountSummary
from craft.data.wording import Wording
from craft.errors import CraftError
from craft.evaluation.retention import DomainProbe, RetentionProbe
from craft.family.family import ModelFamily
from craft.family.plugged import PluggedEncoder
from craft.runtime.inside import inside
from craft.workbench.domains import new_domain
from craft.workbench.listener import Listener
from craft.workbench.words import able_to_read, require_readable

#: Models or their directory; None for those that come with the package.
Family = ModelFamily | Path | str | None
#: Measures forgetting: data in any readable format, or a probe.
General = RetentionProbe | Path | str | None

NOT_MEASURED = (
    "forgetting is not measured: neither these models nor --general name any general data"
)


def opened(family: Family) -> ModelFamily:
    """The models themselves, loaded if a directory or None is given."""
    return family if isinstance(family, ModelFamily) else ModelFamily.load(family)


def retention_probe(
    general: General, family: ModelFamily, language_models: Sequence[str], listener: Listener
) -> RetentionProbe | None:
    """The probe that measures forgetting, or None, of which the listener is notified.

    Args:
        general: data or a probe; by default the data that the family's manifest names, if it is in
            the family's directory.
        language_models: names of the language models that will answer its questions.

    Raises:
        DataError, CraftError: the data cannot be read, or has words that one of them does not know.
    """
    if general is None and family.retention is not None:
        named = inside(family.directory, family.retention, "the manifest of the models")
        if not named.exists():
            listener.notice(
                f"forgetting is not measured: {family.directory} names {family.retention!r} for "
                "it, but holds no such data; give data with --general, or a probe from Python"
            )
            return None
        general = named
    if general is None:
        listener.notice(NOT_MEASURED)
        return None
    if isinstance(general, (Path, str)):
        request = DataRequest(Path(general))
        return DomainProbe(new_domain(request, family, language_models=language_models)[0])
    return general


@dataclass(frozen=True)
class OpenedPack:
    """A pack joined to a family, with the domain to examine it on.

    Args:
        account: what was skipped when the pack's own data was read, if that is the domain.
    """

    encoder: PluggedEncoder
    domain: Domain
    account: AccountSummary | None = None


def open_pack(
    directory: Path | str,
    family: ModelFamily,
    *,
    domain: Domain | None = None,
    data: Path | None = None,
    known: Callable[[str], Domain] | None = None,
) -> OpenedPack:
    """Join a pack to the family and open the given domain, or the one the pack was made for.

    Args:
        directory: of the pack; contains a manifest if the pack was made for a user's data.
        domain: to examine instead of the one that the pack was made for.
        data: where the pack's data is now, if it was moved.
        known: opens a domain by the name that the pack notes, if it was not made for a user's data.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        DataError: the data changed since the pack was made.
        CraftError: not a pack; the data was moved; ``data`` for a pack without a manifest; no way
            to tell the domain.
    """
    directory = Path(directory)
    if domain is not None and data is not None:
        raise CraftError("--domain and --data name two domains; give one of them")
    encoder = family.plug(directory)
    if domain is not None:
        return OpenedPack(encoder, domain)
    if (directory / MANIFEST).is_file():
        manifest = DomainManifest.load(directory / MANIFEST)
        if data is None and not manifest.from_hub and not Path(manifest.source).exists():
            raise CraftError(
                f"{directory} was adapted to the data at {manifest.source}, which no longer "
                "exists; give its new place with --data PATH"
            )
        return OpenedPack(encoder, reopen(manifest, family.image_size, data), manifest.account)
    if data is not None:
        raise CraftError(
            f"{directory} holds no {MANIFEST}: it was not adapted to data of yours, so nothing "
            "says which classes it has seen; adapt with --data first"
        )
    made_for = None if encoder.pack is None else encoder.pack.notes.get("domain")
    if made_for is None or known is None:
        raise CraftError(
            f"{directory} holds no {MANIFEST}, so nothing says what to ask about it; name a domain"
        )
    return OpenedPack(encoder, known(made_for))


def answering_models(
    names: Sequence[str] | None,
    encoder: PluggedEncoder,
    family: ModelFamily,
    domain: Domain,
    listener: Listener,
) -> list[str]:
    """The language models to examine: those asked for, or all that know the domain's words.

    The others are left out, and the listener is notified.

    Args:
        names: language models of the family; None for all.

    Raises:
        CraftError: a requested one does not know some words, which the message names; or none knows
            all words.
    """
    if encoder.own_language_model is not None:
        return list(family.names)
    wording = Wording.of_questions(domain.questions(domain.test))
    if names is not None:
        require_readable(wording, family, names)
        return list(names)
    able, reasons = able_to_read(wording, family, family.names)
    for name, reason in reasons.items():
        listener.notice(f"left out {name}: {reason}")
    return able
