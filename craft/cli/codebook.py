"""``craft codebook fit``: a codebook for features of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from craft.cli import process
from craft.cli.checks import require_finite
from craft.cli.options import Device, Force, console
from craft.workbench.outputs import require_new_file

if TYPE_CHECKING:
    from craft.fitting import Iteration

app = typer.Typer(no_args_is_help=True, help="Make codebooks by residual k-means.")


@app.callback()
def _codebook() -> None:  # keeps `fit` a command of its own while it is the only one
    """Make codebooks by residual k-means."""


@app.command()
def fit(
    features: Annotated[
        list[Path],
        typer.Argument(help=".npy or .safetensors files of one array [N, D]; several are joined"),
    ],
    size: Annotated[int, typer.Option(min=1, help="codewords of a level")],
    out: Annotated[Path, typer.Option(help="safetensors file of the codebook")],
    levels: Annotated[int, typer.Option(min=1, help="residual levels")] = 1,
    shared: Annotated[bool, typer.Option("--shared", help="one table for all levels")] = False,
    init: Annotated[
        Literal["subset", "kmeans++"], typer.Option(help="how the first codewords are drawn")
    ] = "subset",
    iterations: Annotated[int, typer.Option(min=0, help="at most, per level")] = 25,
    tolerance: Annotated[
        float,
        typer.Option(
            callback=require_finite,
            help="a level ends when an iteration gains less than this share",
        ),
    ] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, help="of the draws")] = 0,
    device: Device = None,
    force: Force = False,
) -> None:
    """Fit a codebook to features; an interrupted fit resumes when the same line is typed again.

    The same features and seed give the same file on any machine.
    """
    process.prepare()
    require_new_file(out, "--out", force)
    from craft.cli.interrupt import telling_what_is_kept, typed_line
    from craft.fitting import FeatureFile, fit_codebook
    from craft.runtime.device import choose_device
    from craft.runtime.processes import joined

    chosen = choose_device(device).device
    main = joined(chosen).is_main
    rows = FeatureFile(features)
    state = out.with_name(f"{out.name}.unfinished")

    def show(iteration: Iteration) -> None:
        if main:
            console.print(_line(iteration), highlight=False)

    def kept() -> str:
        return f"what was fitted is kept in {state}; to go on: {typed_line()}"

    if main:
        console.print(f"{len(rows)} rows of {rows.dim} dimensions", highlight=False)
    with telling_what_is_kept(kept, main):
        codebook = fit_codebook(
            rows,
            size,
            levels,
            shared=shared,
            init=init,
            iterations=iterations,
            tolerance=tolerance,
            seed=seed,
            device=chosen,
            state=state,
            on_iteration=show,
        )
    if main:
        codebook.save(out)
        console.print(f"{out}: {codebook}", highlight=False)


def _line(iteration: Iteration) -> str:
    which = "all levels" if iteration.level < 0 else f"level {iteration.level + 1}"
    unused = f", {iteration.unused} codewords unused" if iteration.unused else ""
    return f"{which}, iteration {iteration.iteration}: error {iteration.error:.6g}{unused}"
