"""``craft adapt``: an encoder pack from a domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from craft.cli import data_options, process, training_options
from craft.cli.options import (
    Device,
    DomainName,
    Force,
    General,
    Models,
    Surrogate,
    console,
)
from craft.errors import CraftError

if TYPE_CHECKING:
    from craft.data.domains.domain import Domain
    from craft.family.family import ModelFamily
    from craft.settings.training import CraftConfig


def adapt(
    out: Annotated[Path, typer.Option(help="becomes the encoder pack")],
    domain: Annotated[
        DomainName | None, typer.Option(help="images of the pocket world to adapt to")
    ] = None,
    data: data_options.Data = None,
    dataset: data_options.Dataset = None,
    hub_id: data_options.HubId = None,
    format: data_options.Format = None,
    images: data_options.Images = None,
    class_names: data_options.ClassNames = None,
    subject: data_options.Subject = None,
    distractors: data_options.Distractors = "random",
    option_file: data_options.OptionFile = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    any_size: data_options.AnySize = False,
    general: General = None,
    surrogate: Surrogate = "qwen2",
    method: training_options.Method = None,
    encoder: training_options.EncoderMode = None,
    preset: training_options.Preset = "craft",
    settings_file: training_options.SettingsFile = None,
    settings: training_options.Settings = None,
    resume: training_options.Resume = "never",
    dry_run: training_options.DryRun = False,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Adapt the encoder and write it as an encoder pack, with the domain's prior.

    To a domain of the pocket world (--domain) or to your own data (--data): a folder of images by
    class, a LLaVA JSON file, or anything else that `craft data check` understands. Under torchrun
    all processes share every step.
    """
    process.prepare()
    short = {"method": method, "encoder": encoder}
    chosen_settings = [f"{key}={value}" for key, value in short.items() if value is not None]
    config = training_options.config(preset, settings_file, [*(settings or ()), *chosen_settings])
    own = data is not None or dataset is not None
    if own == (domain is not None):
        raise CraftError("name either --domain or your own data with --data (or --dataset)")
    from craft.cli.progress import ProgressDisplay
    from craft.cli.retention import NOT_MEASURED, retention_probe
    from craft.cli.run_directory import open_run_directory
    from craft.data.domains.manifest import MANIFEST
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.workbench.adapt import adapt_pack
    from craft.workbench.domains import new_domain

    main = process.is_main_process()
    console.quiet = not main
    zoo = ModelFamily.load(models, device=device)
    zoo.language_model(surrogate)
    if domain is not None:
        chosen, manifest = load_domain(domain), None
    else:
        request = data_options.request(
            data, dataset, hub_id, format, images, class_names, subject, skip_corrupt, any_size
        )
        with console.status("reading the data"):
            chosen, manifest = new_domain(
                request, zoo, distractors=distractors, option_file=option_file
            )
    probe = retention_probe(zoo, general)
    if probe is None:
        console.print(NOT_MEASURED, highlight=False)
    if dry_run:
        print_rehearsal(console, zoo, surrogate, chosen, config)
        return
    command = {"command": "adapt", "domain": chosen.name, "surrogate": surrogate}
    if main:
        open_run_directory(out, command | {"config": config.model_dump()}, force)
        (out / MANIFEST).unlink(missing_ok=True)  # an earlier one, which contradicts the pack
        if manifest is not None:
            manifest.save(out / MANIFEST)
    with ProgressDisplay(console) as progress:
        result, pack = adapt_pack(
            zoo,
            surrogate,
            chosen,
            config,
            out,
            probe,
            task=f"{chosen.name}: adapting with {surrogate}",
            resume=resume == "auto",
            on_start=lambda table: console.print(str(table), highlight=False),
            on_progress=progress,
        )
    console.print(
        f"{out}: encoder {pack.encoder_hash[:12]}, {result.blend:.0%} of the way from the "
        f"pretrained weights, {result.code_flip_rate:.1%} of first-level codes changed; "
        f"next: craft evaluate {out}",
        highlight=False,
    )


def print_rehearsal(
    console: Console, zoo: ModelFamily, surrogate: str, domain: Domain, config: CraftConfig
) -> None:
    import copy

    from craft.cli.facts import print_facts
    from craft.training.rehearsal import rehearse

    reader = copy.deepcopy(zoo.language_model(surrogate))
    found = rehearse(
        zoo.pretrained_tower(),
        reader,
        zoo.siglip,
        domain,
        config,
        zoo.text_tokenizer(config),
        zoo.device,
    )
    print_facts(console, "dry run: nothing was written", found.facts())
