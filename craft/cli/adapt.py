"""``craft adapt``: an encoder pack from a domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from craft.cli import checks, data_options, process, training_options
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
from craft.runtime.rank import is_main_process


def adapt(
    out: Annotated[Path, typer.Option(help="directory for the encoder pack")],
    domain: Annotated[
        DomainName | None, typer.Option(help="pocket-world domain to adapt to")
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
    pixel_range: data_options.PixelRange = None,
    min_images: data_options.MinImages = 1,
    numbers: data_options.Numbers = None,
    any_size: data_options.AnySize = False,
    general: General = None,
    surrogate: Surrogate = None,
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
    """Adapt the encoder to a domain and save it, with the domain's prior, as an encoder pack.

    The domain is part of the pocket world (--domain) or your own data (--data): a folder of images
    by class, a LLaVA JSON file, or anything else that `craft data check` understands. Under
    torchrun all processes share each step.
    """
    process.prepare()
    short = {"method": method, "encoder": encoder}
    chosen_settings = [f"{key}={value}" for key, value in short.items() if value is not None]
    config = training_options.config(preset, settings_file, [*(settings or ()), *chosen_settings])
    own = data is not None or dataset is not None
    if own == (domain is not None):
        raise CraftError("name either --domain or your own data with --data (or --dataset)")
    of_data = {
        "--format": format,
        "--images": images,
        "--class-names": class_names,
        "--subject": subject,
        "--distractors": distractors != "random",
        "--option-file": option_file,
        "--skip-corrupt": skip_corrupt,
        "--min-images": min_images > 1,
        "--numbers": numbers,
    }
    if not own:
        checks.require_owner("your own data (--data)", of_data)
    if dataset is None:
        checks.require_owner("--dataset", {"--hub-id": hub_id, "--any-size": any_size})
    from craft.cli.facts import print_facts
    from craft.cli.interrupt import checkpoint_kept, telling_what_is_kept
    from craft.cli.next_steps import next_line
    from craft.cli.retention import general_data
    from craft.cli.told import ConsoleListener
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.training.admission import CHECKPOINTS
    from craft.workbench import adaptation
    from craft.workbench.requirements import language_model

    family = ModelFamily.load(models, device=device)
    surrogate = language_model(family, surrogate, "surrogate")
    request = data_options.request(
        data,
        dataset,
        hub_id,
        format,
        images,
        class_names,
        subject,
        skip_corrupt,
        any_size,
        pixel_range,
        min_images=min_images,
        numbers=numbers,
    )
    given: dict[str, Any] = {
        "data": request if domain is None else load_domain(domain),
        "family": family,
        "surrogate": surrogate,
        "settings": config,
        "distractors": distractors,
        "option_file": option_file,
        "general": general_data(family, general),
    }

    if dry_run:
        with ConsoleListener(console) as told:
            found = adaptation.rehearse(**given, listener=told)
        print_facts(console, "dry run: nothing was written", found.facts())
        return

    def kept() -> str:
        return checkpoint_kept([out / CHECKPOINTS], config.checkpoint.every)

    resumed = out if resume == "auto" else None
    with (
        telling_what_is_kept(kept, is_main_process()),
        ConsoleListener(console, resumed, surrogate) as told,
    ):
        pack = adaptation.adapt(
            out=out, resume=resume == "auto", force=force, listener=told, **given
        )
    console.print(
        f"{out}: encoder {pack.encoder_hash[:12]}, {pack.notes['blend']:.0%} of the way from the "
        f"pretrained weights, {pack.notes['code_flip_rate']:.1%} of first-level codes changed",
    )
    following = next_line("evaluate", out, f"{out}-scores", models=models, general=general)
    console.print(f"next: {following}", soft_wrap=True)
