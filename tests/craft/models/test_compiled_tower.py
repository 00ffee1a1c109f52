"""Encoders that run compiled give the features and codes of those that do not, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from craft.corpus.shard import CorpusEncoder, shards_of
from craft.corpus.tokens import prior_of, read_tokens, tokenize_corpus
from craft.data.images.store import TensorStore
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models import compilation, vision_tower
from craft.models.compilation import require_compilation

pytestmark = [
    pytest.mark.compile,
    # Dynamo and Inductor use parts of torch that torch itself calls deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CPU = torch.device("cpu")
IMAGES = torch.rand(11, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def compiling_with(monkeypatch: pytest.MonkeyPatch, backend: object) -> None:
    """What the library compiles is compiled by another backend."""
    whole = torch.compile

    def compiled(work: object) -> object:
        return whole(work, backend=backend)  # type: ignore[arg-type]

    for module in (compilation, vision_tower):
        monkeypatch.setattr(module.torch, "compile", compiled)


@pytest.mark.slow
def test_features_are_those_of_the_tower(tiny_models: ModelFamily) -> None:
    """By Inductor, for three sizes of batch."""
    require_compilation(CPU)
    plain, tower = tiny_models.pretrained_tower(), tiny_models.pretrained_tower()
    tower.compile_features()
    for batch in (4, 3, 11):
        images = IMAGES[:batch]
        torch.testing.assert_close(tower.continuous(images), plain.continuous(images))
        codes = tower.encode(images).codes
        assert (codes == plain.encode(images).codes).float().mean() > 0.9


def test_one_graph_for_whole_batches_and_one_for_the_rest(
    tiny_models: ModelFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("eager")
    compiling_with(monkeypatch, backend)
    tower = tiny_models.pretrained_tower()
    plain = tower.encode(IMAGES, batch=4)
    tower.compile_features()
    tower.compile_features()
    for images in (IMAGES[:8], IMAGES[:8], IMAGES, IMAGES[:10], IMAGES[:5]):
        found = tower.encode(images, batch=4)
        torch.testing.assert_close(found.quantized, plain.quantized[: len(images)])
    assert 1 <= backend.frame_count <= 3
    assert tower.state_dict().keys() == tiny_models.pretrained_tower().state_dict().keys()


def test_tokens_say_that_they_were_compiled(
    tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling_with(monkeypatch, "eager")
    plain = CorpusEncoder.of(tiny_models.plug(), tiny_models.codebook)
    encoder = CorpusEncoder.of(tiny_models.plug(), tiny_models.codebook, compiled=True)
    shards = shards_of(TensorStore(IMAGES), 5)
    list(tokenize_corpus(encoder, shards, tmp_path))
    assert read_tokens(sorted(tmp_path.iterdir())[0]).card.precision == "fp32, compiled"
    sorted(tmp_path.iterdir())[0].unlink()
    with pytest.raises(
        CraftError, match="an encoder in fp32, compiled, this one computes in fp32;"
    ):
        list(tokenize_corpus(plain, shards, tmp_path))
    list(tokenize_corpus(encoder, shards, tmp_path))
    assert prior_of(tmp_path, plain).total == len(IMAGES) * 9


def test_where_nothing_can_be_compiled_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> object:
        raise RuntimeError("no C++ compiler\nwas found")

    compiling_with(monkeypatch, none)
    with pytest.raises(CraftError, match=r"--compile: .* was found.*; leave --compile out") as told:
        require_compilation(CPU)
    assert "\n" not in str(told.value)
