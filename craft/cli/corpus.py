"""``craft tokenize`` and ``craft prior``: the codes of whole corpora and their frequencies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from craft.cli import data_options, process
from craft.cli.checks import require_owner
from craft.cli.options import Compile, Device, Force, Models, Pack, PackDomain, console
from craft.errors import CraftError
from craft.workbench.outputs import require_new_file

if TYPE_CHECKING:
    from craft.corpus.backend import Workers
    from craft.corpus.shard import CorpusEncoder
    from craft.family.family import ModelFamily
    from craft.runtime.processes import Processes

Ray = Annotated[bool, typer.Option("--ray", help="run on Ray workers, of RAY_ADDRESS if it is set")]
RayWorkers = Annotated[int | None, typer.Option("--workers", min=1, help="with --ray [default: 2]")]
ShardSize = Annotated[int, typer.Option(min=1, help="images per shard")]


def tokenize(
    data: Annotated[Path, typer.Argument(help="anything that `craft data check` understands")],
    pack: Annotated[Path, typer.Option(help="encoder pack")],
    out: Annotated[Path, typer.Option(help="directory for the Parquet files")],
    ray: Ray = False,
    workers: RayWorkers = None,
    shard_size: ShardSize = 1024,
    format: data_options.Format = None,
    images: data_options.Images = None,
    skip_corrupt: data_options.SkipCorrupt = False,
    pixel_range: data_options.PixelRange = None,
    compile: Compile = False,
    device: Device = None,
    models: Models = None,
) -> None:
    """Encode images to codes, one Parquet file per shard; an interrupted run resumes."""
    process.prepare()
    if out.exists() and not out.is_dir():
        raise CraftError(f"--out {out} is a file; name a directory")
    if not ray:
        require_owner("--ray", {"--workers": workers})
    from craft.cli.interrupt import telling_what_is_kept, typed_line
    from craft.cli.progress import ProgressDisplay
    from craft.corpus.shard import CorpusEncoder, shards_of
    from craft.corpus.tokens import tokenize_corpus
    from craft.data.images.pace import EncodingPace
    from craft.data.images.record_store import RecordStore
    from craft.family.family import ModelFamily
    from craft.models.compilation import require_compilation

    family = ModelFamily.load(models, device=device)
    processes = _processes(family, ray)
    if compile:
        require_compilation(family.device)
    encoder = _placed(CorpusEncoder.of(family.plug(pack), family.codebook, compile), ray)
    request = data_options.request(
        data,
        format=format,
        images=images,
        skip_corrupt=skip_corrupt,
        pixel_range=pixel_range,
    )
    records = request.read().records
    images_of = RecordStore(records, encoder.tower.image_size)
    shards = shards_of(images_of, shard_size, [record.id for record in records])
    workforce = _workers(ray, workers, encoder)
    pace = EncodingPace(hands=workforce.count if workforce else processes.count)
    progress = ProgressDisplay(console)
    progress.count_images("images", 1)
    tally = processes.tally(0, len(records), partial(progress, "images"))

    def kept() -> str:
        return f"{tally.done} images are encoded in {out}; to resume: {typed_line()}"

    with telling_what_is_kept(kept, processes.is_main), progress:
        tally.tell()
        for count in tokenize_corpus(encoder, shards, out, workforce, processes, pace):
            tally.add(count)
        tally.close()
    told = f"; {pace}" if pace.images else ""
    console.print(f"{out}: {tally.done} images in {len(shards)} shards{told}")


def prior(
    pack: Pack,
    domain: PackDomain = None,
    data: data_options.MovedData = None,
    tokens: Annotated[
        Path | None, typer.Option(help="count the codes that `craft tokenize` wrote there instead")
    ] = None,
    ray: Ray = False,
    workers: RayWorkers = None,
    out: Annotated[
        Path | None, typer.Option(help="file to write [default: prior.safetensors in the pack]")
    ] = None,
    device: Device = None,
    models: Models = None,
    force: Force = False,
) -> None:
    """Count how often the domain's training images use each first-level code, for pruning."""
    process.prepare()
    from craft.cli.progress import ProgressDisplay
    from craft.corpus.count import count_corpus
    from craft.corpus.shard import CorpusEncoder, shards_of
    from craft.corpus.tokens import prior_of
    from craft.family.family import ModelFamily
    from craft.models.encoder_pack import replace_prior
    from craft.models.pack_card import PRIOR
    from craft.pocket.domains import load_domain
    from craft.workbench.opening import open_pack

    if out is None:
        _require_no_prior(pack, force)
    require_new_file(out, "--out", force)
    if not ray:
        require_owner("--ray", {"--workers": workers})
    if tokens is not None and ray:
        raise CraftError("--ray encodes images, but --tokens are encoded already; leave --ray out")
    family = ModelFamily.load(models, device=device)
    processes = _processes(family, ray)
    found = open_pack(
        pack,
        family,
        domain=None if domain is None else load_domain(domain),
        data=data,
        known=load_domain,
    )
    encoder = _placed(CorpusEncoder.of(found.encoder, family.codebook), ray)
    if tokens is not None:
        counted = prior_of(tokens, encoder)
    else:
        shards = shards_of(found.domain.train.images)
        with ProgressDisplay(console) as progress:
            progress("shards", 0, len(shards))
            counted = count_corpus(
                encoder,
                shards,
                _workers(ray, workers, encoder),
                partial(progress, "shards"),
                processes,
            )
    path = out or pack / PRIOR
    if processes.is_main:
        if out is None:
            replace_prior(pack, counted)
        else:
            counted.save(out)
    used = int((counted.counts > 0).sum())
    images = counted.total // (encoder.tower.grid[0] * encoder.tower.grid[1])
    console.print(
        f"{path}: {counted.total} tokens of {images} images, {used} of {counted.size} codes",
    )


def _require_no_prior(pack: Path, force: bool) -> None:
    """Raises CraftError if the pack already has a prior that may not be replaced."""
    from craft.models.pack_card import PRIOR

    if (pack / PRIOR).is_file() and not force:
        raise CraftError(
            f"{pack} has a prior already; --out FILE writes another, which `craft evaluate --prior "
            "FILE` prunes by, or --force replaces it"
        )


def _processes(family: ModelFamily, ray: bool) -> Processes:
    from craft.runtime.processes import joined

    processes = joined(family.device)
    if ray and processes.count > 1:
        raise CraftError(
            f"--ray starts workers of its own, and {processes.count} processes were started; use "
            "one or the other"
        )
    return processes


def _placed(encoder: CorpusEncoder, ray: bool) -> CorpusEncoder:
    """Workers of Ray see GPUs of their own, whatever number this process's has."""
    return replace(encoder, device=encoder.device.partition(":")[0]) if ray else encoder


def _workers(ray: bool, count: int | None, encoder: CorpusEncoder) -> Workers | None:
    from craft.corpus.backend import Workers

    on_gpu = encoder.device.startswith("cuda")
    return Workers(count or 2, gpus=1 if on_gpu else 0) if ray else None
