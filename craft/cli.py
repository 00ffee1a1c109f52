"""The command line: ``craft demo | adapt | evaluate | transfer | prior | data | info`` and more.

torch and the models are imported inside the commands, so that ``craft --help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

import craft
from craft import (
    cli_adapters,
    cli_corpus,
    cli_data,
    cli_decoding,
    cli_evaluation,
    cli_models,
    cli_options,
    cli_reproduce,
    cli_training,
)
from craft.cli_options import (
    DOMAINS,
    DomainName,
    Force,
    GeneralImages,
    Models,
    Surrogate,
    TestLimit,
    console,
)


class _Commands(TyperGroup):
    """Turns what users get wrong into one red line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get("CRAFT_DEBUG"):
                raise
            text = str(error)
            if isinstance(error, OSError) and error.strerror and error.filename:
                text = f"{error.strerror}: {error.filename}"  # without the system's number
            line = " ".join(text.split())
            Console(stderr=True).print(
                f"[bold red]error:[/] [red]{escape(line)}[/]", soft_wrap=True, highlight=False
            )
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_models.app, name="convert")


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"craft {craft.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Adapt a discrete vision-language model by training only its vision encoder.

    Mistakes in the arguments end with one line and exit code 2; CRAFT_DEBUG=1 shows the traceback.
    """


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where results, page and encoder packs go")] = Path(
        "runs/demo"
    ),
    domain: Annotated[
        Literal["handwriting", "lineart", "flags", "all"],
        typer.Option(help="which images to adapt to"),
    ] = "handwriting",
    seeds: Annotated[int, typer.Option(min=1, help="adaptations to average over")] = 1,
    surrogate: Surrogate = "qwen2",
    settings: cli_training.Settings = None,
    preset: cli_training.Preset = "craft",
    settings_file: cli_training.SettingsFile = None,
    test_limit: TestLimit = None,
    general_images: GeneralImages = 900,
    models: Models = None,
    force: Force = False,
) -> None:
    """The whole method: adapt, plug into the other language model, prune, compare.

    Writes results.json, predictions.jsonl (every answer), index.html and, for each domain and seed,
    an encoder pack. An --out of an earlier run is written over; one with other files is refused.
    """
    cli_options.prepare()
    config = cli_training.config(preset, settings_file, settings)
    from craft.pocket.demo import run_demo
    from craft.pocket.zoo import PocketModels
    from craft.report.page import write_page
    from craft.report.progress import ProgressDisplay
    from craft.report.run_directory import open_run_directory
    from craft.report.table import demo_table

    zoo = PocketModels.load(models)
    domains = DOMAINS if domain == "all" else (domain,)
    command = {"command": "demo", "domains": list(domains), "seeds": seeds, "surrogate": surrogate}
    open_run_directory(out, command | {"config": config.model_dump()}, force)
    with ProgressDisplay(console) as progress:
        run = run_demo(
            domains,
            out,
            range(seeds),
            config,
            zoo,
            surrogate=surrogate,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    page = write_page(run.results, run.examples, out)
    console.print(demo_table(run.results))
    console.print(f"Open {page} for images, answers and curves.", highlight=False)


@app.command()
def adapt(
    out: Annotated[Path, typer.Option(help="becomes the encoder pack")],
    domain: Annotated[
        DomainName | None, typer.Option(help="images of the pocket world to adapt to")
    ] = None,
    data: cli_data.Data = None,
    dataset: cli_data.Dataset = None,
    hub_id: cli_data.HubId = None,
    format: cli_data.Format = None,
    images: cli_data.Images = None,
    class_names: cli_data.ClassNames = None,
    subject: cli_data.Subject = None,
    distractors: cli_data.Distractors = "random",
    option_file: cli_data.OptionFile = None,
    skip_corrupt: cli_data.SkipCorrupt = False,
    any_size: cli_data.AnySize = False,
    surrogate: Surrogate = "qwen2",
    method: cli_training.Method = None,
    encoder: cli_training.EncoderMode = None,
    preset: cli_training.Preset = "craft",
    settings_file: cli_training.SettingsFile = None,
    settings: cli_training.Settings = None,
    resume: cli_training.Resume = "never",
    dry_run: cli_training.DryRun = False,
    models: Models = None,
    force: Force = False,
) -> None:
    """Adapt the encoder and write it as an encoder pack, with the domain's prior.

    To a domain of the pocket world (--domain) or to your own data (--data): a folder of images by
    class, a LLaVA JSON file, or anything else that `craft data check` understands. Under torchrun
    all processes share every step.
    """
    cli_options.prepare()
    short = {"method": method, "encoder": encoder}
    chosen_settings = [f"{key}={value}" for key, value in short.items() if value is not None]
    config = cli_training.config(preset, settings_file, [*(settings or ()), *chosen_settings])
    own = data is not None or dataset is not None
    if own == (domain is not None):
        raise ValueError("name either --domain or your own data with --data (or --dataset)")
    from craft.data.manifest import MANIFEST
    from craft.pocket.domains import load_domain
    from craft.pocket.packs import adapt_pack, choosing_views
    from craft.pocket.user_domains import new_domain
    from craft.pocket.zoo import PocketModels
    from craft.report.progress import ProgressDisplay
    from craft.report.run_directory import open_run_directory

    main = cli_options.is_main_process()
    console.quiet = not main
    zoo = PocketModels.load(models)
    zoo.lvlm(surrogate)
    if domain is not None:
        chosen, manifest = load_domain(domain), None
    else:
        request = cli_data.request(
            data, dataset, hub_id, format, images, class_names, subject, skip_corrupt, any_size
        )
        with console.status("reading the data"):
            chosen, manifest = new_domain(
                request, zoo, distractors=distractors, option_file=option_file
            )
    if dry_run:
        cli_training.print_rehearsal(console, zoo, surrogate, chosen, config)
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
            choosing_views(config.validation_images, zoo.base_tower()),
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


app.command(name="settings")(cli_training.list_settings)
app.command(name="few-shot")(cli_adapters.few_shot)
for command in (
    cli_evaluation.evaluate,
    cli_evaluation.transfer,
    cli_evaluation.export,
    cli_evaluation.pictures,
    cli_evaluation.judge,
    cli_reproduce.reproduce,
    cli_corpus.tokenize,
    cli_corpus.prior,
    cli_decoding.generate,
    cli_models.align,
):
    app.command()(command)


@app.command()
def info(
    pack: Annotated[
        Path | None, typer.Argument(metavar="[PACK]", help="also say what is in it")
    ] = None,
    models: Models = None,
) -> None:
    """What is installed, what will run and why, and what is in an encoder pack."""
    cli_options.prepare()
    from craft.report.facts import installation_facts, pack_facts, print_facts

    print_facts(console, "installation", installation_facts(models))
    if pack is not None:
        print_facts(console, str(pack), pack_facts(pack, models))


def main() -> None:
    """Entry point of the ``craft`` command."""
    app()


if __name__ == "__main__":
    main()
