"""``craft evaluate | transfer | export | pictures | judge``: what an adapted encoder is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from craft import cli_data, cli_options
from craft.cli_options import (
    Force,
    GeneralImages,
    LanguageModel,
    Models,
    Pack,
    PackDomain,
    SelectorName,
    TestLimit,
    console,
)


def evaluate(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="where results.json and predictions.jsonl go")],
    domain: PackDomain = None,
    data: cli_data.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: Annotated[
        list[float] | None, typer.Option(help="share of the visual tokens to keep; repeat [1.0]")
    ] = None,
    selector: Annotated[SelectorName, typer.Option(help="how tokens are chosen")] = "full",
    prior: Annotated[
        Path | None, typer.Option(help="token prior to prune by [default: the pack's]")
    ] = None,
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="also score the likeliest option letter")
    ] = False,
    justify: Annotated[
        bool, typer.Option("--justify", help="also ask for justifications, marked by rule")
    ] = False,
    seed: Annotated[int, typer.Option(help="of the random selectors")] = 0,
    test_limit: TestLimit = None,
    general_images: GeneralImages = 900,
    models: Models = None,
    force: Force = False,
) -> None:
    """Examine an encoder pack through language models that share its codebook.

    A pack made for another codebook is refused, with both fingerprints.
    """
    cli_options.prepare()
    from craft.models.aligned_language_model import AlignedLanguageModel
    from craft.pocket.packs import LANGUAGE_MODEL, evaluate_pack
    from craft.pocket.user_domains import open_pack
    from craft.pocket.zoo import PocketModels
    from craft.prior import TokenPrior
    from craft.report.progress import ProgressDisplay
    from craft.report.run_directory import open_run_directory
    from craft.report.table import evaluation_table

    zoo = PocketModels.load(models)
    loaded, chosen = open_pack(pack, zoo, name=domain, data=data)
    command = {"command": "evaluate", "pack": str(pack), "domain": chosen.name}
    open_run_directory(out, command, force)
    own = pack / LANGUAGE_MODEL
    with ProgressDisplay(console) as progress:
        results = evaluate_pack(
            loaded,
            zoo,
            chosen,
            out,
            names=zoo.names if llm == "all" else [llm],
            reader=AlignedLanguageModel.from_pretrained(own) if own.is_dir() else None,
            keep_ratios=keep_ratio or [1.0],
            selector=selector,
            likelihood=likelihood,
            justify=justify,
            prior=TokenPrior.load(prior) if prior else None,
            seed=seed,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    console.print(evaluation_table(results))


def transfer(
    packs: Annotated[list[Path], typer.Argument(metavar="PACK...", help="encoder packs")],
    out: Annotated[Path, typer.Option(help="where results.json and predictions.jsonl go")],
    domain: PackDomain = None,
    data: cli_data.MovedData = None,
    llm: LanguageModel = "all",
    keep_ratio: Annotated[float, typer.Option(help="share of the visual tokens to keep")] = 1.0,
    test_limit: TestLimit = None,
    general_images: GeneralImages = 900,
    models: Models = None,
    force: Force = False,
) -> None:
    """Every encoder with every language model: points gained over the pretrained encoder.

    All packs are examined on the domain of the first one, or on --domain.
    """
    cli_options.prepare()
    from craft.models.encoder_pack import EncoderPack
    from craft.pocket.transfer import transfer_matrix
    from craft.pocket.user_domains import open_pack
    from craft.pocket.zoo import PocketModels
    from craft.report.progress import ProgressDisplay
    from craft.report.run_directory import open_run_directory
    from craft.report.table import transfer_table

    zoo = PocketModels.load(models)
    first, chosen = open_pack(packs[0], zoo, name=domain, data=data)
    others = {str(pack): EncoderPack.load(pack, zoo.base_tower) for pack in packs[1:]}
    loaded = {str(packs[0]): first} | others
    if len(loaded) < len(packs):
        raise ValueError(f"a pack is named twice: {', '.join(map(str, packs))}")
    command = {"command": "transfer", "packs": list(loaded), "domain": chosen.name}
    open_run_directory(out, command, force)
    with ProgressDisplay(console) as progress:
        results = transfer_matrix(
            loaded,
            zoo,
            chosen,
            out,
            names=zoo.names if llm == "all" else [llm],
            keep_ratio=keep_ratio,
            test_limit=test_limit,
            general_images=general_images,
            on_progress=progress,
        )
    console.print(transfer_table(results))


def export(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="directory for the task's files")],
    to: Annotated[Literal["lmms-eval", "vlmevalkit"], typer.Option(help="suite that reads them")],
    name: Annotated[str | None, typer.Option(help="of the task [default: craft_DOMAIN]")] = None,
    domain: PackDomain = None,
    data: cli_data.MovedData = None,
    models: Models = None,
) -> None:
    """Write the test questions of the pack's domain as a task of another evaluation suite."""
    cli_options.prepare()
    from craft.data.task_export import export_lmms_eval, export_vlmevalkit
    from craft.pocket.user_domains import open_pack
    from craft.pocket.zoo import PocketModels

    _, chosen = open_pack(pack, PocketModels.load(models), name=domain, data=data)
    questions = chosen.questions(chosen.test)
    write = export_lmms_eval if to == "lmms-eval" else export_vlmevalkit
    path = write(name or f"craft_{chosen.name}", chosen.test.images, questions, out)
    console.print(f"{path}: {len(questions)} questions", highlight=False)


def pictures(
    pack: Pack,
    out: Annotated[Path, typer.Option(help="where code_maps.png and codes.png go")],
    domain: PackDomain = None,
    data: cli_data.MovedData = None,
    count: Annotated[int, typer.Option(min=1, help="images to draw")] = 6,
    keep_ratio: Annotated[
        list[float] | None, typer.Option(help="budget to draw; repeat [0.8 0.6 0.4]")
    ] = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Draw what each patch is called, what pruning keeps, and which codes are frequent or rare."""
    cli_options.prepare()
    from craft.pocket.user_domains import open_pack
    from craft.pocket.zoo import PocketModels
    from craft.report.code_pictures import draw_pictures
    from craft.report.run_directory import open_run_directory

    zoo = PocketModels.load(models)
    loaded, chosen = open_pack(pack, zoo, name=domain, data=data)
    open_run_directory(out, {"command": "pictures", "pack": str(pack)}, force)
    ratios = keep_ratio or [0.8, 0.6, 0.4]
    for path in draw_pictures(loaded, zoo.codebook, chosen, out, count, ratios):
        console.print(str(path), highlight=False)


def judge(
    predictions: Annotated[
        Path, typer.Argument(help="predictions.jsonl of craft evaluate --justify")
    ],
    out: Annotated[Path, typer.Option(help="file of verdicts; a run that broke off goes on")],
    judged_by: Annotated[str, typer.Option("--model", help="the judge's name at the server")],
    budget: Annotated[float, typer.Option(min=0, help="US dollars, never exceeded")],
    price_read: Annotated[float, typer.Option(min=0, help="US dollars a million tokens read")],
    price_written: Annotated[
        float, typer.Option(min=0, help="US dollars a million tokens written")
    ],
    url: Annotated[
        str | None, typer.Option(help='of the server, with "/v1" [default: OPENAI_BASE_URL]')
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="answers of each model and condition")] = 350,
) -> None:
    """Let a language model mark justified answers, as the paper does (its Table 2).

    Any server with OpenAI's chat interface will do; the key is OPENAI_API_KEY.
    """
    from craft.evaluation.judge_client import Judge, Price
    from craft.evaluation.judge_run import judge_predictions
    from craft.report.progress import ProgressDisplay

    marker = Judge(judged_by, Price(price_read, price_written), budget, url=url)
    with ProgressDisplay(console) as progress:
        summary: dict[str, Any] = judge_predictions(
            predictions, marker, out, most, on_progress=progress
        )
    console.print_json(json.dumps(summary))
    console.print(f"spent {marker.spent:.4f} US dollars", highlight=False)
