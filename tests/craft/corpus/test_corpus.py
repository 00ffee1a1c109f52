"""Tokens and counts of a corpus are the encoder's, whichever worker made them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from craft.codebook import CodebookMismatchError
from craft.corpus.backend import Workers, shard_workers
from craft.corpus.count import count_corpus
from craft.corpus.shard import CorpusEncoder, Shard, shards_of
from craft.corpus.tokens import prior_of, read_tokens, tokenize_corpus
from craft.data.images.record_store import RecordStore, image_tensor
from craft.data.images.store import TensorStore
from craft.data.readers import DataError, read_records
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.prior import TokenPrior
from tests.craft.cli.commands import craft_command, done
from tests.craft.corpus.ray_run import IMAGES, SHARD, corpus

ROOT = Path(__file__).parents[3]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def encoder(tiny_models: ModelFamily) -> CorpusEncoder:
    return CorpusEncoder(EncoderPack.of(tiny_models.pretrained_tower()), tiny_models.codebook)


def tokens_of(directory: Path) -> dict[str, torch.Tensor]:
    """Image -> codes."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("*.parquet")):
        tokens = read_tokens(path)
        assert not found.keys() & set(tokens.ids)
        found |= dict(zip(tokens.ids, tokens.codes, strict=True))
    return found


def record_shards(folder: Path, size: int) -> list[Shard]:
    """The images of a folder, in the shards of `craft tokenize`."""
    records = read_records(folder).records
    return shards_of(RecordStore(records, 24), size, [record.id for record in records])


def test_tokens_are_those_of_the_encoder(
    tiny_models: ModelFamily, encoder: CorpusEncoder, class_folder: Path, tmp_path: Path
) -> None:
    shards = record_shards(class_folder, 32)
    assert sum(tokenize_corpus(encoder, shards, tmp_path)) == 80
    paths = sorted(tmp_path.glob("*.parquet"))
    assert [p.name for p in paths] == [f"tokens-{i:06d}-of-000003.parquet" for i in range(3)]
    first = read_tokens(paths[0])
    records = read_records(class_folder).records
    images = [image_tensor(record.rgb(), 24) for record in records[:32]]
    expected = tiny_models.pretrained_tower().encode(torch.stack(images))
    assert torch.equal(first.codes, expected.codes)
    assert torch.equal(first.residual_sq_norms, expected.residual_sq_norms)
    assert first.ids == [record.id for record in records[:32]]
    assert (first.card.grid, first.card.encoder_hash) == ((3, 3), encoder.pack.encoder_hash)
    counted = prior_of(tmp_path, encoder)
    codes = torch.stack(list(tokens_of(tmp_path).values()))
    by_hand = [int((codes[..., 0] == k).sum()) for k in range(encoder.codebook.size)]
    assert counted.counts.tolist() == by_hand
    assert torch.equal(count_corpus(encoder, shards).counts, counted.counts)


def test_an_interrupted_run_resumes(
    tiny_models: ModelFamily, encoder: CorpusEncoder, tmp_path: Path
) -> None:
    _, shards = corpus(tiny_models)
    run = iter(tokenize_corpus(encoder, shards, tmp_path))
    assert [next(run), next(run)] == [SHARD, SHARD]
    del run
    with pytest.raises(ValueError, match=r"holds 2 of 000012 shards of tokens"):
        prior_of(tmp_path, encoder)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2
    assert sum(tokenize_corpus(encoder, shards, tmp_path)) == IMAGES
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert prior_of(tmp_path, encoder).total == IMAGES * 9


def test_tokens_of_another_encoder_are_refused(
    tiny_models: ModelFamily, encoder: CorpusEncoder, tmp_path: Path
) -> None:
    _, shards = corpus(tiny_models)
    list(tokenize_corpus(encoder, shards[:1], tmp_path))
    tower = tiny_models.pretrained_tower()
    with torch.no_grad():
        next(tower.parameters()).add_(1)
    other = CorpusEncoder(EncoderPack.of(tower), tiny_models.codebook)
    with pytest.raises(
        ValueError, match=r"tokens of another encoder: .*; choose another directory"
    ):
        list(tokenize_corpus(other, shards[:1], tmp_path))
    moved = replace(shards[0], ids=shards[0].ids[::-1])
    with pytest.raises(ValueError, match="tokens of other images"):
        list(tokenize_corpus(encoder, [moved], tmp_path))
    list(tokenize_corpus(encoder, shards, tmp_path))
    with pytest.raises(ValueError, match="holds tokens of encoder"):
        prior_of(tmp_path, other)
    stranger = CorpusEncoder(encoder.pack, type(encoder.codebook)(torch.randn(24, 16), 2))
    with pytest.raises(CodebookMismatchError):
        prior_of(tmp_path, stranger)
    with pytest.raises(CodebookMismatchError):
        count_corpus(stranger, shards)


def test_a_corrupt_image_is_named_and_leaves_no_file(
    encoder: CorpusEncoder, class_folder: Path, tmp_path: Path
) -> None:
    records = read_records(class_folder).records
    bad = Path(records[20].place.path)
    bad.write_bytes(bad.read_bytes()[:60])
    shards = record_shards(class_folder, 16)
    with pytest.raises(DataError, match=bad.name):
        list(tokenize_corpus(encoder, shards, tmp_path / "tokens"))
    assert [p.name[:13] for p in (tmp_path / "tokens").iterdir()] == ["tokens-000000"]


def test_shards_cover_the_corpus_once_and_in_order() -> None:
    images = TensorStore(torch.zeros(10, 3, 2, 2, dtype=torch.uint8))
    shards = shards_of(images, 4)
    assert [s.ids for s in shards] == [tuple("0123"), tuple("4567"), tuple("89")]
    assert [len(s.images) for s in shards] == [4, 4, 2]
    assert shards_of(images.take([])) == []
    with pytest.raises(ValueError, match="at least one image"):
        shards_of(images, 0)
    with pytest.raises(ValueError, match="10 images need as many ids, got 1"):
        shards_of(images, 4, ["a"])


def test_other_files_are_not_tokens(tmp_path: Path, encoder: CorpusEncoder) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="is not a token file"):
        read_tokens(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"holds 0 of \? shards"):
        prior_of(tmp_path, encoder)


def test_an_encoder_is_pickled_completely(encoder: CorpusEncoder, tiny_models: ModelFamily) -> None:
    _, shards = corpus(tiny_models)
    _ = encoder.tower  # which each worker makes for itself
    sent = pickle.dumps(encoder)
    assert len(sent) == len(pickle.dumps(replace(encoder)))
    again = pickle.loads(sent)
    assert torch.equal(again.encode(shards[0]).codes, encoder.encode(shards[0]).codes)


def test_pixels_of_a_shard_travel_without_a_copy_and_without_those_of_others() -> None:
    images = torch.arange(1000 * 3 * 4 * 4, dtype=torch.float32).view(1000, 3, 4, 4)
    shard = shards_of(TensorStore(images), 10)[7]
    buffers: list[pickle.PickleBuffer] = []
    sent = pickle.dumps(shard, protocol=5, buffer_callback=buffers.append)
    assert len(sent) < 2000
    (buffer,) = (memoryview(x).toreadonly() for x in buffers)
    assert buffer.nbytes == 10 * 3 * 4 * 4 * 4
    again = pickle.loads(sent, buffers=[buffer])  # as from memory that processes share
    assert torch.equal(again.images.pixels(range(10)), images[70:80])
    assert again.digests() == shard.digests()
    images[75, 1, 2, 3] = -1
    assert again.images.pixels([5])[0, 1, 2, 3] == -1


def test_workers_of_ray_have_gpus_of_their_own(encoder: CorpusEncoder) -> None:
    from craft.cli.corpus import _placed, _workers

    away = replace(encoder, device="cuda:3")
    assert _placed(away, ray=True).device == "cuda"
    assert _placed(away, ray=False).device == "cuda:3"
    workers = _workers(True, None, away)
    assert workers == Workers(2, gpus=1)
    assert _workers(True, 3, encoder) == Workers(3)
    assert _workers(False, None, away) is None


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_ray_workers_one_of_which_is_killed(tiny_models: ModelFamily, tmp_path: Path) -> None:
    """Prior and tokens are the same as in this process."""
    pytest.importorskip("ray")
    # Imported, not run as a script: workers unpickle objects by the name of their module.
    command = [sys.executable, "-c", "from tests.craft.corpus import ray_run; ray_run.main()"]
    subprocess.run(
        [*command, str(tiny_models.directory), str(tmp_path)],
        check=True,
        timeout=400,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"},
    )
    assert (tmp_path / "count-died").is_file()
    assert (tmp_path / "tokens-died").is_file()
    encoder, shards = corpus(tiny_models)
    expected = count_corpus(encoder, shards)
    found = TokenPrior.load(tmp_path / "prior.safetensors")
    assert torch.equal(found.counts, expected.counts)
    assert found.encoder_hash == expected.encoder_hash
    list(tokenize_corpus(encoder, shards, tmp_path / "here"))
    here, there = tokens_of(tmp_path / "here"), tokens_of(tmp_path / "tokens")
    assert here.keys() == there.keys()
    assert all(torch.equal(codes, there[image]) for image, codes in here.items())
    assert torch.equal(prior_of(tmp_path / "tokens", encoder).counts, expected.counts)


def test_without_ray_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_models: ModelFamily
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    encoder, shards = corpus(tiny_models)
    with (
        shard_workers(Workers(2)) as each_shard,
        pytest.raises(ImportError, match=r"pip install 'ray>=2.51'"),
    ):
        list(each_shard(encoder.encode, shards))


@pytest.mark.usefixtures("quiet_process")
def test_commands(pack: Path, tiny_models: ModelFamily, class_folder: Path, tmp_path: Path) -> None:
    models = ("--models", tiny_models.directory)
    out = tmp_path / "tokens"
    options = ("--pack", pack, "--out", out, "--shard-size", 30, *models)
    text = done(craft_command("tokenize", class_folder, *options))
    assert "80 images in 3 shards" in text
    prior = tmp_path / "prior.safetensors"
    text = done(craft_command("prior", pack, "--tokens", out, "--out", prior, *models))
    assert "720 tokens of 80 images" in text
    assert TokenPrior.load(prior).total == 720
