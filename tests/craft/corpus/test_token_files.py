"""Tokens of other images, another encoder or another shard size are refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from craft.corpus.shard import CorpusEncoder, Shard, shards_of
from craft.corpus.token_file import CorpusTokens, read_tokens, write_tokens
from craft.corpus.tokens import prior_of, tokenize_corpus
from craft.data.images.record_store import RecordStore
from craft.data.images.store import TensorStore
from craft.data.readers import Record, read_records
from craft.data.readers.pixel_range import PixelRange
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from tests.craft.fuzzing import ROUNDS, damaged, flipped, fuzz_file

ROOT = Path(__file__).parents[3]


@pytest.fixture
def encoder(tiny_models: ModelFamily) -> CorpusEncoder:
    return CorpusEncoder(EncoderPack.of(tiny_models.pretrained_tower()), tiny_models.codebook)


@pytest.fixture
def shards() -> list[Shard]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 24, 24), generator=generator, dtype=torch.uint8)
    return shards_of(TensorStore(images), 5)


def together(shards: list[Shard]) -> TensorStore:
    """The images of all shards."""
    parts = [shard.images.pixels(range(len(shard.images))) for shard in shards]
    return TensorStore(torch.cat(parts))


def of_records(records: Sequence[Record], size: int) -> list[Shard]:
    """The shards of `craft tokenize`."""
    return shards_of(RecordStore(records, 24), size, [record.id for record in records])


@pytest.fixture
def written(encoder: CorpusEncoder, shards: list[Shard], tmp_path: Path) -> Path:
    list(tokenize_corpus(encoder, shards, tmp_path / "tokens"))
    return tmp_path / "tokens"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def same(found: CorpusTokens, known: CorpusTokens) -> bool:
    return (
        (found.card, found.ids, found.images) == (known.card, known.ids, known.images)
        and torch.equal(found.codes, known.codes)
        and torch.equal(found.residual_sq_norms, known.residual_sq_norms)
    )


def flips_anywhere(data: bytes, rng: random.Random) -> bytes:
    """Change one byte anywhere in a file: pages, their headers, footer or magic."""
    changed = bytearray(data)
    at = rng.randrange(len(data))
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


@ROUNDS
@pytest.mark.parametrize("damage", [flips_anywhere, flipped, damaged])
def test_damage_is_refused_or_harmless(written: Path, damage: Any, rounds: int) -> None:
    path = sorted(written.iterdir())[0]
    known = read_tokens(path)
    fuzz_file(path, lambda case: _equal(read_tokens(path), known), rounds, damage)


def _equal(found: CorpusTokens, known: CorpusTokens) -> None:
    assert same(found, known)


def test_pages_have_checksums_that_others_verify(written: Path) -> None:
    """With only Arrow's reader, without the card's hash."""
    path = sorted(written.iterdir())[0]
    whole = path.read_bytes()
    about = pq.ParquetFile(path).metadata.row_group(0)
    for number in range(about.num_columns):
        column = about.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        changed = bytearray(whole)
        changed[start + column.total_compressed_size - 1] ^= 1  # the last byte of the last page
        path.write_bytes(bytes(changed))
        with pytest.raises(OSError, match="CRC checksum verification failed"):
            pq.ParquetFile(path, page_checksum_verification=True).read()
    path.write_bytes(whole)


def test_what_is_read_is_what_was_written(written: Path, tmp_path: Path) -> None:
    tokens = read_tokens(sorted(written.iterdir())[2])
    assert (tokens.ids, tokens.card.shard, tokens.card.of) == (["10", "11"], 2, 3)
    write_tokens(tmp_path / "again.parquet", tokens)
    assert same(read_tokens(tmp_path / "again.parquet"), tokens)
    folder = tmp_path / "run=3"  # a name that Arrow's data set reader parses as a column
    folder.mkdir()
    write_tokens(folder / "again.parquet", tokens)
    assert same(read_tokens(folder / "again.parquet"), tokens)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "craft-tokens-1"},
        {"content": "0" * 64},
        {"levels": 1},
        {"encoder_hash": "0" * 64},
        {"corpus": "0" * 64},
        {"grid": [1, 9]},
        {"grid": [3.0, 3.0]},
        {"levels": True},
        {"shard_size": 10**30},
        {"more": 1},
    ],
)
def test_edited_cards_are_refused(written: Path, change: dict[str, Any]) -> None:
    path = sorted(written.iterdir())[0]
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"craft"]) | change
    pq.write_table(table.replace_schema_metadata({"craft": json.dumps(about)}), path)
    with pytest.raises(CraftError) as error:
        read_tokens(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_of_earlier_versions_are_refused_with_the_way_out(written: Path) -> None:
    path = sorted(written.iterdir())[0]
    table = pq.read_table(path)
    about = {"format": "craft-tokens-1", "grid": [3, 3], "levels": 2, "encoder_hash": "0"}
    pq.write_table(table.replace_schema_metadata({"craft": json.dumps(about)}), path)
    with pytest.raises(CraftError, match=r"by an earlier version.* run `craft tokenize` again"):
        read_tokens(path)


def refused(
    encoder: CorpusEncoder, shards: list[Shard], out: Path, message: str, missing: int = 1
) -> None:
    """Check that a run is refused with a message and writes nothing, not even missing shards."""
    sorted(out.iterdir())[missing].unlink()
    before = contents(out)
    with pytest.raises(CraftError, match=message) as error:
        list(tokenize_corpus(encoder, shards, out))
    assert "\n" not in str(error.value)
    assert str(out) in str(error.value)
    assert contents(out) == before


def test_another_shard_size_is_refused(
    encoder: CorpusEncoder, shards: list[Shard], written: Path
) -> None:
    images = together(shards)
    refused(encoder, shards_of(images, 4), written, "tokens of --shard-size 5, this is 4")  # 3 too
    refused(encoder, shards_of(images, 6), written, "tokens of --shard-size 5, this is 6", 0)


def test_other_ids_are_refused(encoder: CorpusEncoder, shards: list[Shard], written: Path) -> None:
    images = together(shards)
    ids = [str(number) for number in range(11)] + ["x"]
    refused(
        encoder,
        shards_of(images, 5, ids),
        written,
        "tokens of other images, according to their ids",
    )
    more = images.take([*range(12), *range(12)])
    refused(encoder, shards_of(more, 5), written, "tokens of 3 shards, this run has 5", 0)


def test_another_encoder_is_refused(
    tiny_models: ModelFamily, encoder: CorpusEncoder, shards: list[Shard], written: Path
) -> None:
    pack = encoder.pack
    other = tiny_models.pretrained_tower()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    config = pack.vision_config | {"layer_norm_eps": 0.1}
    half = replace(pack, notes=pack.notes | {"precision": "bf16"})
    cases: list[tuple[EncoderPack, str]] = [
        (EncoderPack.of(other), "tokens of another encoder: "),
        (
            replace(pack, vision_config=config),
            "tokens of another encoder, according to its configuration",
        ),
        (half, "tokens of an encoder in fp32, this one computes in bf16"),
    ]
    sorted(written.iterdir())[1].unlink()
    before = contents(written)
    for changed, message in cases:
        with pytest.raises(CraftError, match=message):
            list(tokenize_corpus(CorpusEncoder(changed, encoder.codebook), shards, written))
        assert contents(written) == before
    # Fields on a model's origin and how it runs do not make another encoder.
    moved = pack.vision_config | {"_name_or_path": "x", "transformers_version": "0"}
    same_one = CorpusEncoder(replace(pack, vision_config=moved), encoder.codebook)
    assert sum(tokenize_corpus(same_one, shards, written)) == 12


def test_changed_images_with_old_ids_are_refused(
    encoder: CorpusEncoder, class_folder: Path, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    out = tmp_path / "tokens"
    records = read_records(class_folder).records
    list(tokenize_corpus(encoder, of_records(records, 30), out))
    draw(Path(records[31].place.path), 999)
    draw(Path(records[33].place.path), 998)
    again = of_records(read_records(class_folder).records, 30)
    told = f"images that have changed since: {records[31].id!r}, and 1 more of its 30"
    refused(encoder, again, out, told, missing=2)
    sorted(out.iterdir())[1].unlink()  # as the message advises
    assert sum(tokenize_corpus(encoder, again, out)) == 80
    anew = list(tokenize_corpus(encoder, again, tmp_path / "anew"))
    assert sum(anew) == 80
    assert contents(out) == contents(tmp_path / "anew")


def test_another_pixel_range_changes_the_images(encoder: CorpusEncoder, tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / "data" / "thing" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("I;16", (24, 24), 1000 * number).save(path)
    plain = read_records(tmp_path / "data")
    narrow = plain.mapped(PixelRange(black=0, white=4095))
    out = tmp_path / "tokens"
    list(tokenize_corpus(encoder, of_records(narrow.records, 2), out))
    refused(encoder, of_records(plain.records, 2), out, "images that have changed since")
    wide = plain.mapped(PixelRange(black=0, white=9999))
    with pytest.raises(CraftError, match="images that have changed since"):
        list(tokenize_corpus(encoder, of_records(wide.records, 2), out))
    assert sum(tokenize_corpus(encoder, of_records(narrow.records, 2), out)) == 3


def test_a_prior_counts_one_corpus(
    encoder: CorpusEncoder, shards: list[Shard], written: Path, tmp_path: Path
) -> None:
    assert prior_of(written, encoder).total == 12 * 9
    first, second, _ = sorted(written.iterdir())
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(CraftError, match="tokens of shard 0, under the name of shard 1"):
        prior_of(written, encoder)
    images = together(shards)
    others = shards_of(images, 5, [f"other {n}" for n in range(12)])
    list(tokenize_corpus(encoder, others, tmp_path / "other"))
    second.write_bytes((tmp_path / "other" / second.name).read_bytes())
    with pytest.raises(CraftError, match="tokens of other images, according to their ids"):
        prior_of(written, encoder)
    second.write_bytes(whole)
    config = encoder.pack.vision_config | {"layer_norm_eps": 0.1}
    changed = CorpusEncoder(replace(encoder.pack, vision_config=config), encoder.codebook)
    with pytest.raises(CraftError, match="another encoder, according to its configuration"):
        prior_of(written, changed)


def test_damaged_shards_are_not_overwritten(
    encoder: CorpusEncoder, shards: list[Shard], written: Path
) -> None:
    path = sorted(written.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-20])
    before = contents(written)
    with pytest.raises(CraftError, match=r"is damaged .*; delete it, and run `craft tokenize`"):
        list(tokenize_corpus(encoder, shards, written))
    assert contents(written) == before
    with pytest.raises(CraftError, match="is damaged"):
        prior_of(written, encoder)


@pytest.mark.slow
def test_kills_at_every_disk_access(tiny_models: ModelFamily, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.craft.corpus.killed_tokens"),
            *(str(tiny_models.directory), str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    there = json.loads(run.stdout)
    assert there == sorted(there)
    assert set(there) == {0, 1, 2}
    assert len(there) > 15
