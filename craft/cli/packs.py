"""A pack with the domain to examine it on: the user's data, or the pocket world's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from craft.errors import CraftError

if TYPE_CHECKING:
    from rich.console import Console

    from craft.data.domains.domain import Domain
    from craft.data.readers import AccountSummary
    from craft.family.family import ModelFamily
    from craft.family.plugged import PluggedEncoder


def account_of(directory: Path) -> AccountSummary | None:
    """What was skipped when the data that a pack was adapted to was read; None if it was no data
    of the user's."""
    from craft.data.domains.manifest import MANIFEST, DomainManifest

    manifest = directory / MANIFEST
    return DomainManifest.load(manifest).account if manifest.is_file() else None


def open_pack(
    directory: Path,
    family: ModelFamily,
    *,
    name: str | None = None,
    data: Path | None = None,
) -> tuple[PluggedEncoder, Domain]:
    """A pack joined to the family, and the domain asked for or the one the pack was made for.

    Args:
        directory: of the pack; holds a manifest if it was made for a user's data.
        name: a domain of the pocket world to use instead.
        data: where the pack's data lies now.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        DataError: the data changed since the pack was made.
        CraftError: nothing says which domain, or ``data`` for a pack of the pocket world.
    """
    from craft.pocket.domains import load_domain
    from craft.workbench.domains import domain_of

    encoder = family.plug(directory)
    if name is None:
        own = domain_of(directory, family, data)
        if own is not None:
            return encoder, own
    elif data is not None:
        raise CraftError("--domain and --data name two domains; give one of them")
    made_for = None if encoder.pack is None else encoder.pack.notes.get("domain")
    if name is None and made_for is None:
        raise CraftError("the pack does not say which domain it was made for; choose --domain")
    return encoder, load_domain(name or made_for or "")


def examined(
    family: ModelFamily, llm: str, encoder: PluggedEncoder, domain: Domain, console: Console
) -> list[str]:
    """The language models to examine: the one asked for, or all that know the domain's words.

    Those that do not are left out and told.

    Raises:
        CraftError: no such language model, or the one asked for lacks words; names them.
    """
    from craft.data.wording import Wording
    from craft.workbench.words import able_to_read, require_readable

    if encoder.own_language_model is not None:
        return list(family.names) if llm == "all" else [llm]
    wording = Wording.of_questions(domain.questions(domain.test))
    if llm != "all":
        require_readable(wording, family, [llm])
        return [llm]
    able, reasons = able_to_read(wording, family, family.names)
    for name, reason in reasons.items():
        console.print(f"left out {name}: {reason}", style="yellow", markup=False, highlight=False)
    return able
