"""The whole model: model classes from configs, checkpoints, generation, padding and pruning."""

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

from craft.codebook import Codebook, CodebookMismatchError
from craft.models import DiscreteLVLM, DiscreteLVLMConfig, DiscreteVisionConfig
from craft.models.configuration import DiscreteLVLMConfig as Config
from craft.models.text_batch import prompt_batch, training_batch
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash

PROMPTS = ["What object is shown in the image?", "Answer as succinctly as possible.", "A"]
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "initializer_range": 0.8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "qwen2, tied": Qwen2Config(**TEXT, tie_word_embeddings=True),
    "qwen2.5, untied": Qwen2Config(**TEXT, tie_word_embeddings=False, rms_norm_eps=1e-6),
    "qwen3": Qwen3Config(**TEXT, head_dim=8),
    "llama": LlamaConfig(**TEXT),
}


def build(text, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codebook = Codebook(torch.randn(12, 16), 4)
        config = Config(vision_config=VISION, text_config=text, **settings)
        return DiscreteLVLM(config, codebook).eval()


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def words():
    ids = torch.randint(3, 40, (3, 6), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])
    return ids * mask, mask


@pytest.fixture
def prior():
    def count(model):
        counts = torch.arange(12) * 5 + 1
        return TokenPrior(counts, codebook_fingerprint=model.codebook.fingerprint, encoder_hash="x")

    return count


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep_ratio", [1.0, 0.5])
def test_generation_does_not_depend_on_batch_or_padding(family, keep_ratio, pixels, words, prior):
    model = build(FAMILIES[family])
    ids, mask = words
    how = {"keep_ratio": keep_ratio, "prior": prior(model), "max_new_tokens": 6, "do_sample": False}
    together = model.generate(pixels, ids, mask, **how)
    assert together.shape == (3, 6) or (together == 2).any()
    for i in range(3):
        length = int(mask[i].sum())
        alone = model.generate(pixels[i : i + 1], ids[i : i + 1, -length:], None, **how)[0]
        assert together[i, : len(alone)].tolist() == alone.tolist()
        wider = model.generate(
            pixels[i : i + 1],
            F.pad(ids[i : i + 1], (5, 0)),
            F.pad(mask[i : i + 1], (5, 0)),
            **how,
        )[0]
        assert wider.tolist() == alone.tolist()


def test_keeping_everything_is_a_bit_exact_bypass(pixels, prior):
    model = build(FAMILIES["llama"])
    whole = model.tower(pixels).quantized
    assert torch.equal(model.visual_tokens(pixels, keep_ratio=1.0, prior=prior(model)), whole)
    kept = model.visual_tokens(pixels, keep_ratio=0.5, prior=prior(model))
    assert kept.shape == (3, 8, 16)
    for row, of in zip(kept, whole, strict=True):
        assert all((of == token).all(1).any() for token in row)


def test_pruning_by_rarity_needs_a_prior_of_this_codebook(pixels, words, prior):
    model = build(FAMILIES["llama"])
    with pytest.raises(ValueError, match="needs the domain's token prior"):
        model.generate(pixels, *words, keep_ratio=0.5)
    assert model.visual_tokens(pixels, keep_ratio=0.5, selector="random").shape == (3, 8, 16)
    other = TokenPrior(torch.ones(12).long(), codebook_fingerprint="0" * 64, encoder_hash="x")
    with pytest.raises(CodebookMismatchError):
        model.generate(pixels, *words, keep_ratio=0.5, prior=other)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_comes_back_bit_for_bit(family, pixels, words, tmp_path):
    model = build(FAMILIES[family])
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "codebook" in name]  # noqa: SIM118
    assert isinstance(AutoConfig.from_pretrained(tmp_path), DiscreteLVLMConfig)
    for auto in (AutoModel, AutoModelForImageTextToText, DiscreteLVLM):
        back = auto.from_pretrained(tmp_path)
        assert isinstance(back, DiscreteLVLM)
        assert not back.training
        assert tensor_hash(back.state_dict()) == tensor_hash(model.state_dict())
        assert back.codebook == model.codebook
    ids, mask = words
    with torch.no_grad():
        assert torch.equal(back(pixels, ids, mask).logits, model(pixels, ids, mask).logits)
    half = DiscreteLVLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.projector[0].weight.dtype == torch.bfloat16
    assert half.codebook == model.codebook  # float32 whatever the weights are
    assert half.generate(pixels.bfloat16(), ids, mask, max_new_tokens=2).shape[0] == 3


def test_weights_of_another_codebook_are_refused(tmp_path):
    build(FAMILIES["llama"]).save_pretrained(tmp_path)
    with pytest.raises(CodebookMismatchError):
        DiscreteLVLM.from_pretrained(tmp_path, codebook=Codebook(torch.randn(12, 16), 4))


def test_vila_u_s_shapes_follow_from_a_config():
    """Shapes only, on the meta device: SigLIP-L/16 at 256 pixels, mlp2x_gelu, LLaMA-2-7B."""
    vision = DiscreteVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=256,
        patch_size=16,
    )
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, vocab_size=32004
    )
    with torch.device("meta"):
        model = DiscreteLVLM(DiscreteLVLMConfig(vision_config=vision, text_config=text))
    shapes = {name: tuple(x.shape) for name, x in model.projector.named_parameters()}
    assert shapes == {
        "0.weight": (4096, 1024),
        "0.bias": (4096,),
        "2.weight": (4096, 4096),
        "2.bias": (4096,),
    }
    assert len(model.tower.blocks) == 23
    assert model.tower.grid == (16, 16)
    # Embeddings and blocks 1 to 23 of SigLIP-L.
    assert round(sum(x.numel() for x in model.tower.parameters()) / 1e6, 1) == 290.8
    assert sum(x.numel() for x in model.language_model.parameters()) == pytest.approx(
        6.74e9, rel=0.01
    )


def test_loss_is_the_aligned_models_on_the_pocket_checkpoint(tiny_models):
    """The pocket models as one checkpoint have the same loss and answers as their parts."""
    part = tiny_models.language_model("qwen2")
    model = tiny_models.lvlm("qwen2")
    images = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    batch = training_batch(part.tokenizer, PROMPTS, ["A", "thing aa", "B, because"])
    visual = tiny_models.pretrained_tower().encode(images).quantized
    loss = model(images * 2 - 1, batch.input_ids, batch.attention_mask, batch.labels).loss
    assert float(loss) == pytest.approx(float(part.answer_loss(visual, batch)), abs=1e-5)
    text = prompt_batch(part.tokenizer, PROMPTS)
    ids = model.generate(images * 2 - 1, text.input_ids, text.attention_mask, max_new_tokens=5)
    said = part.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert said == part.answer(visual, text)


def test_the_pocket_checkpoint_saves_and_loads(tiny_models, tmp_path):
    model = tiny_models.lvlm("llama")
    model.save_pretrained(tmp_path)
    back = AutoModel.from_pretrained(tmp_path)
    assert tensor_hash(back.state_dict()) == tensor_hash(model.state_dict())


def test_what_cannot_be_built_is_said():
    with pytest.raises(ValueError, match="text_config is missing"):
        DiscreteLVLM(DiscreteLVLMConfig(vision_config=VISION))
    with pytest.raises(ValueError, match="without 'model_type'"):
        DiscreteLVLMConfig(text_config={"hidden_size": 8})


def test_labels_need_padding_on_the_right(pixels, words):
    model = build(FAMILIES["llama"])
    with pytest.raises(ValueError, match="pad on the right"):
        model(pixels, *words, labels=words[0])
