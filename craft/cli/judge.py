"""``craft judge``: let a language model mark justified answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from craft.cli.checks import require_finite
from craft.cli.options import console


def judge(
    predictions: Annotated[
        Path, typer.Argument(help="predictions.jsonl of `craft evaluate --justify`")
    ],
    out: Annotated[Path, typer.Option(help="file of verdicts; an interrupted run resumes")],
    judged_by: Annotated[str, typer.Option("--model", help="the judge's name on the server")],
    budget: Annotated[
        float,
        typer.Option(min=0, callback=require_finite, help="limit in US dollars for all of --out"),
    ],
    price_read: Annotated[
        float,
        typer.Option(min=0, callback=require_finite, help="US dollars per million tokens read"),
    ],
    price_written: Annotated[
        float,
        typer.Option(min=0, callback=require_finite, help="US dollars per million tokens written"),
    ],
    url: Annotated[
        str | None,
        typer.Option(help="server's URL, with /v1 [default: OPENAI_BASE_URL, else OpenAI's]"),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="answers per model and condition, at most")
    ] = 350,
) -> None:
    """Let a language model mark justified answers, as the paper does (its Table 2).

    Works with any server that has OpenAI's chat interface; the key is read from OPENAI_API_KEY.
    """
    from craft.cli.interrupt import telling_what_is_kept, typed_line
    from craft.cli.progress import ProgressDisplay
    from craft.evaluation.judge.client import Judge, Price
    from craft.evaluation.judge.run import judge_predictions

    marker = Judge(judged_by, Price(price_read, price_written), budget, url=url)

    def kept() -> str:
        return f"the verdicts so far are in {out}; to resume: {typed_line()}"

    with telling_what_is_kept(kept), ProgressDisplay(console) as progress:
        summary: dict[str, Any] = judge_predictions(
            predictions, marker, out, most, on_progress=progress
        )
    console.print_json(json.dumps(summary))
    unreadable = sum(marks["unreadable"] for marks in summary.values())
    if unreadable:
        console.print(f"answers without a verdict: {unreadable}; {out} says why")
    console.print(f"spent {marker.spent:.4f} US dollars on {out}")
