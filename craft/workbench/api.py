"""The three calls of the method as Python has them: adapt, evaluate, transfer.

They take paths where commands take paths, with the same settings and the same results; what is
behind them takes open models and domains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.data.domains.user_data import DataRequest
from craft.data.readers import ReadOptions
from craft.errors import CraftError
from craft.evaluation.results import EvaluationResults, TransferResults
from craft.evaluation.retention import DomainProbe, RetentionProbe
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.settings.choices import Selector
from craft.settings.presets import PresetName
from craft.settings.reading import read_settings
from craft.workbench.adapt import adapt_pack
from craft.workbench.domains import domain_of, new_domain
from craft.workbench.evaluate import evaluate_pack
from craft.workbench.transfer import transfer_matrix

Family = ModelFamily | Path | str | None
#: Data that measures forgetting: a path as for ``data``, or a probe of one's own.
General = RetentionProbe | Path | str | None


def adapt(
    data: Domain | DataRequest | Path | str,
    out: Path | str,
    *,
    family: Family = None,
    surrogate: str | None = None,
    subject: str | None = None,
    settings: Mapping[str, Any] | None = None,
    preset: PresetName = "craft",
    general: General = None,
    resume: bool = False,
) -> EncoderPack:
    """Adapt a family's encoder to data and save it as an encoder pack.

    Args:
        data: a path in any format that `craft data check` understands, how to read one, or a
            domain.
        out: the new directory that becomes the pack; one that exists is only resumed.
        family: the models, or their directory; those that come with the package by default.
        surrogate: the language model to adapt with; the family's first by default.
        subject: what questions call the things shown, for a path of images by class.
        settings: dotted names as `craft settings` lists them, such as ``{"steps": 100}``.
        preset: settings to begin with.
        general: measures forgetting while weights are chosen; without, none is measured.
        resume: go on from the newest checkpoint in ``out``.

    Returns:
        The pack, as saved.

    Raises:
        DataError: the data cannot be read.
        CraftError: a setting, name or directory that cannot be; words the models do not know.

    Example:
        >>> pack = craft.adapt("photos/", "my-pack", subject="bird")  # doctest: +SKIP
    """
    out = Path(out)
    if not resume and out.exists() and any(out.iterdir()):
        raise CraftError(f"{out} exists; choose another directory, or resume=True to go on in it")
    assigned = [f"{name}={_written(value)}" for name, value in (settings or {}).items()]
    config = read_settings(preset, None, assigned)
    models = _opened(family)
    name = surrogate or models.names[0]
    probe = _probe(general, models, name)
    if isinstance(data, (Path, str)):
        data = DataRequest(Path(data), subject=subject, reading=ReadOptions())
    elif subject is not None:
        raise CraftError("subject goes with a path; a request or a domain has its own")
    manifest = None
    if isinstance(data, DataRequest):
        texts = models.text_tokenizer(config)
        data, manifest = new_domain(data, models, readers=[name], text_tokenizer=texts)
    _, pack = adapt_pack(models, name, data, config, out, probe, manifest=manifest, resume=resume)
    return pack


def evaluate(
    pack: Path | str,
    out: Path | str,
    *,
    family: Family = None,
    domain: Domain | None = None,
    language_models: Sequence[str] | None = None,
    keep_ratios: Sequence[float] = (1.0,),
    selector: Selector = "full",
    general: General = None,
    test_limit: int | None = None,
) -> EvaluationResults:
    """Examine a pack through language models that share its codebook.

    Writes ``results.json`` and ``predictions.jsonl`` to ``out``.

    Args:
        domain: what to examine it on; by default the data that it was adapted to.
        language_models: by default all of the family.
        keep_ratios, selector, test_limit: see
            :func:`~craft.workbench.evaluate.evaluate_pack`.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        CraftError: nothing says which domain, or see
            :func:`~craft.workbench.evaluate.evaluate_pack`.
    """
    models, out = _opened(family), _new(out)
    names = list(language_models or models.names)
    return evaluate_pack(
        models.plug(pack),
        models,
        domain or _domain_of(Path(pack), models),
        out,
        names=names,
        probe=_probe(general, models, *names),
        keep_ratios=keep_ratios,
        selector=selector,
        test_limit=test_limit,
    )


def transfer(
    packs: Sequence[Path | str],
    out: Path | str,
    *,
    family: Family = None,
    domain: Domain | None = None,
    language_models: Sequence[str] | None = None,
    keep_ratio: float = 1.0,
    general: General = None,
    test_limit: int | None = None,
) -> TransferResults:
    """Every pack with every language model: points gained over the pretrained encoder.

    Arguments as for :func:`evaluate`; the domain is the first pack's by default.

    Raises:
        CodebookMismatchError: a pack speaks another codebook than the models; names both.
        CraftError: see :func:`~craft.workbench.transfer.transfer_matrix`.
    """
    if not packs:
        raise CraftError("no pack to examine; name at least one")
    models, out = _opened(family), _new(out)
    names = list(language_models or models.names)
    return transfer_matrix(
        {str(pack): models.plug(pack) for pack in packs},
        models,
        domain or _domain_of(Path(packs[0]), models),
        out,
        names=names,
        probe=_probe(general, models, *names),
        keep_ratio=keep_ratio,
        test_limit=test_limit,
    )


def _opened(family: Family) -> ModelFamily:
    return family if isinstance(family, ModelFamily) else ModelFamily.load(family)


def _new(out: Path | str) -> Path:
    out = Path(out)
    if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise CraftError(f"{out} exists; choose another directory")
    return out


def _domain_of(pack: Path, family: ModelFamily) -> Domain:
    found = domain_of(pack, family)
    if found is None:
        raise CraftError(f"{pack} was not adapted to data of yours; say what to ask: domain=...")
    return found


def _probe(general: General, family: ModelFamily, *readers: str) -> RetentionProbe | None:
    if isinstance(general, (Path, str)):
        request = DataRequest(Path(general))
        return DomainProbe(new_domain(request, family, readers=readers)[0])
    return general


def _written(value: Any) -> str:
    """A setting's value as ``--set`` takes it: YAML has JSON's spelling."""
    import json

    return json.dumps(value)
