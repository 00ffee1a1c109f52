"""From what callers name - paths, models, data - to what is worked with."""

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

#: Models, or the directory that holds them; None for those that come with the package.
Family = ModelFamily | Path | str | None
#: What measures forgetting: data in any readable format, or a probe.
General = RetentionProbe | Path | str | None

NOT_MEASURED = (
    "forgetting is not measured: no general data was named, by these models or with --general"
)


def opened(family: Family) -> ModelFamily:
    """The models."""
    return family if isinstance(family, ModelFamily) else ModelFamily.load(family)


def retention_probe(
    general: General, family: ModelFamily, language_models: Sequence[str], listener: Listener
) -> RetentionProbe | None:
    """What measures forgetting, if anything does; the listener is told if nothing does.

    Args:
        general: data or a probe; by default the data that the family's manifest names, if it lies
            in the family's directory.
        language_models: names of those that will answer it.

    Raises:
        DataError, CraftError: the data cannot be read, or has words that one of them does not know.
    """
    if general is None and family.retention is not None:
        named = inside(family.directory, family.retention, "the manifest of the models")
        if not named.exists():
            listener.notice(
                f"forgetting is not measured: {family.directory} names {family.retention!r} for "
                "that, which is no data of its own; give data with --general, or a probe from "
                "Python"
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
    """A pack joined to a family, with what to examine it on.

    Args:
        account: of the reading of the data that the pack was adapted to, if that is examined.
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
    """A pack joined to the family, and the domain asked for or the one the pack was made for.

    Args:
        directory: of the pack; holds a manifest if it was made for a user's data.
        domain: to examine instead of the one that the pack was made for.
        data: where the pack's data lies now, if it was moved.
        known: opens domains by the names that packs note, where no data of a user's was read.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        DataError: the data changed since the pack was made.
        CraftError: not a pack; the data was moved; ``data`` for a pack that holds no manifest;
            nothing says which domain.
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
                f"{directory} was adapted to the data at {manifest.source}, where nothing is now; "
                "say where it lies with --data PATH"
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

    Those that do not are left out, and the listener is told.

    Args:
        names: language models of the family; None for all.

    Raises:
        CraftError: one that was asked for lacks words, and names them; none knows all words.
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
