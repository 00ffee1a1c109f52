"""``craft adapt``: an encoder pack from a domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
from craft.cli.run_directory import note_run, require_run_directory
from craft.errors import CraftError
from craft.runtime.whole_file import require_room

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
    if distractors == "hard" and option_file is not None:
        raise CraftError("--distractors hard and --option-file both choose wrong options; give one")
    checks.require_trainable(config)
    if not dry_run:
        going_on = require_run_directory(out, "adapt", resume=resume == "auto", force=force)
        _require_checkpoint(out, going_on, force)
    from craft.cli.data_check import print_account
    from craft.cli.interrupt import checkpoint_kept, telling_what_is_kept
    from craft.cli.next_steps import next_line, resuming
    from craft.cli.progress import ProgressDisplay
    from craft.cli.retention import NOT_MEASURED, retention_probe
    from craft.family.family import ModelFamily
    from craft.pocket.domains import load_domain
    from craft.report.adaptation import adaptation_lines
    from craft.training.adapt import CHECKPOINTS
    from craft.workbench.adapt import adapt_pack
    from craft.workbench.domains import new_domain

    main = process.is_main_process()
    console.quiet = not main
    zoo = ModelFamily.load(models, device=device)
    surrogate = checks.language_model(zoo, "--surrogate", surrogate)
    zoo.codebook.restrict(config.codebook.chosen)
    texts = zoo.text_tokenizer(config)  # a missing one is found before anything is read
    if not dry_run:
        weights = zoo.siglip.vision_model.state_dict().values()
        require_room(out, sum(x.nbytes for x in weights), "the encoder pack")
    if general is None:  # the models' own; a user's general data is read below
        checks.require_enough_questions(config, retention_probe(zoo))
    if domain is not None:
        chosen, manifest = load_domain(domain), None
    else:
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
        with console.status("reading the data"):
            chosen, manifest = new_domain(
                request,
                zoo,
                readers=[surrogate],
                text_tokenizer=texts,
                distractors=distractors,
                option_file=option_file,
            )
        print_account(console, manifest.account, limit=1)
    probe = retention_probe(zoo, general, [surrogate])
    checks.require_enough_questions(config, probe)
    if probe is None:
        console.print(NOT_MEASURED, highlight=False)
    if dry_run:
        print_rehearsal(console, zoo, surrogate, chosen, config)
        return
    checkpoints = out / CHECKPOINTS
    command = {"command": "adapt", "domain": chosen.name, "surrogate": surrogate}
    noted = command | {"config": config.model_dump()}

    def begin(step: int, steps: int) -> None:
        if resume == "auto":
            console.print(resuming(checkpoints, step, steps), soft_wrap=True, highlight=False)

    def kept() -> str:
        return checkpoint_kept([checkpoints], config.checkpoint.every)

    task = f"{chosen.name}: adapting with {surrogate}"
    with telling_what_is_kept(kept, main), ProgressDisplay(console) as progress:
        progress.count_images(task, config.batch)
        result, pack = adapt_pack(
            zoo,
            surrogate,
            chosen,
            config,
            out,
            probe,
            manifest=manifest,
            task=task,
            resume=resume == "auto",
            on_ready=lambda: note_run(out, noted, resume=resume == "auto", force=force),
            on_start=lambda table: console.print(str(table), highlight=False),
            on_begin=begin,
            on_progress=progress,
        )
    console.print(
        f"{out}: encoder {pack.encoder_hash[:12]}, {result.blend:.0%} of the way from the "
        f"pretrained weights, {result.code_flip_rate:.1%} of first-level codes changed",
        highlight=False,
    )
    for line in adaptation_lines(result, config, surrogate, probe is not None):
        console.print(line, soft_wrap=True, highlight=False)
    following = next_line("evaluate", out, f"{out}-scores", models=models, general=general)
    console.print(f"next: {following}", soft_wrap=True, highlight=False)


def _require_checkpoint(out: Path, going_on: bool, force: bool) -> None:
    """Raises CraftError for a finished run without checkpoints, which resuming would repeat."""
    finished = (out / "pack.json").is_file() and not any(out.glob("checkpoints/step-*"))
    if going_on and finished and not force:
        raise CraftError(
            f"--out {out} holds a pack and no checkpoint to go on from; choose another directory, "
            "or --force to train anew and replace it"
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
