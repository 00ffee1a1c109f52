"""Small models of transformers that quantise, with random weights and codebooks."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    ChameleonVQVAE,
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    GlmImageVQVAE,
    HubertConfig,
    JanusVQVAE,
    MimiConfig,
    MimiModel,
    XcodecConfig,
    XcodecModel,
)
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE
from transformers.models.glm_image.configuration_glm_image import GlmImageVQVAEConfig
from transformers.models.higgs_audio_v2_tokenizer.configuration_higgs_audio_v2_tokenizer import (
    HiggsAudioV2TokenizerConfig,
)
from transformers.models.janus.configuration_janus import JanusVQVAEConfig

K = 64
Dac: Any = DacConfig  # their fields are not known to type checkers
Hubert: Any = HubertConfig


class Call(NamedTuple):
    """What one quantiser was given, and what it gave."""

    quantizer: nn.Module
    features: Tensor  # [N, D] as it compares them with codewords
    codes: Tensor  # [N, levels]


class Case(NamedTuple):
    build: Callable[[], Any]
    inputs: Callable[[int], dict[str, Any]]  # a batch of so many
    paths: tuple[str, ...]  # of the quantisers
    method: str = "encode"
    compared: Callable[[nn.Module, Tensor], Tensor] = lambda quantizer, x: x  # [..., D, ...]
    channels: int = 1  # the dimension of them
    result: int = -1  # where codes are in what the method returns


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(make: Callable[[], nn.Module]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def mimi(**changes: Any) -> Any:
    config = MimiConfig(
        hidden_size=32,
        num_filters=4,
        upsampling_ratios=[4, 2],
        codebook_size=K,
        codebook_dim=16,
        vector_quantization_hidden_dimension=16,
        num_quantizers=6,
        num_semantic_quantizers=2,
        upsample_groups=32,
        num_hidden_layers=1,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=16,
        **changes,
    )
    model = seeded(lambda: MimiModel(config))
    for group in groups(model):
        for level, layer in enumerate(group.layers):
            usage = 1 + noise(K, seed=level).abs()
            layer.codebook.cluster_usage.copy_(usage)
            layer.codebook.embed_sum.copy_(4 * noise(K, 16, seed=level) * usage[:, None])
    return model


def groups(model: Any) -> list[Any]:
    quantizer = model.quantizer
    return [
        quantizer.semantic_residual_vector_quantizer,
        quantizer.acoustic_residual_vector_quantizer,
    ]


def encodec(**changes: Any) -> Any:
    config = EncodecConfig(
        target_bandwidths=[18.0, 72.0, 108.0],  # 1, 4 and 6 levels
        num_filters=4,
        upsampling_ratios=[4, 2],
        hidden_size=16,
        codebook_size=K,
        num_lstm_layers=1,
        **changes,
    )
    model = seeded(lambda: EncodecModel(config))
    fill(model.quantizer.layers, 0.03)
    return model


def xcodec() -> Any:
    acoustic = Dac(
        encoder_hidden_size=2,
        downsampling_ratios=[8, 5, 4, 2],
        decoder_hidden_size=32,
        upsampling_ratios=[8, 5, 4, 2],
        hidden_size=16,
    )
    semantic = Hubert(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    config = XcodecConfig(
        target_bandwidths=[0.3, 1.2],  # 1 and 4 levels
        codebook_size=K,
        acoustic_model_config=acoustic,
        semantic_model_config=semantic,
    )
    model = seeded(lambda: XcodecModel(config))
    fill(model.quantizer.quantizers, 1.0)
    return model


def fill(levels: Any, scale: float) -> None:
    for level, layer in enumerate(levels):
        layer.codebook.embed.copy_(scale * noise(*layer.codebook.embed.shape, seed=level))


def dac() -> Any:
    config = Dac(
        encoder_hidden_size=4,
        downsampling_ratios=[4, 2],
        decoder_hidden_size=16,
        upsampling_ratios=[2, 4],
        n_codebooks=3,
        codebook_size=K,
        codebook_dim=4,
    )
    model = seeded(lambda: DacModel(config))
    with torch.no_grad():
        for level, quantizer in enumerate(model.quantizer.quantizers):
            quantizer.codebook.weight.copy_(noise(K, 4, seed=level))
            quantizer.in_proj.weight.copy_(noise(*quantizer.in_proj.weight.shape, seed=level))
    return model


class Higgs(nn.Module):
    """The tokenizer's quantiser alone: the whole of it needs torchaudio."""

    def __init__(self) -> None:
        super().__init__()
        acoustic = Dac(hidden_size=16)
        semantic = Hubert(hidden_size=16, num_attention_heads=2)
        config = HiggsAudioV2TokenizerConfig(
            codebook_size=K,
            codebook_dim=8,
            target_bandwidths=[0.15, 0.45],  # 1 and 4 levels
            sample_rate=8000,
            acoustic_model_config=acoustic,
            semantic_model_config=semantic,
        )
        self.quantizer = _higgs().HiggsAudioV2TokenizerResidualVectorQuantization(config)

    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        return self.quantizer.encode(embeddings, bandwidth)


@functools.cache
def _higgs() -> ModuleType:
    """The tokenizer's code, which imports torchaudio; the quantiser uses nothing of that."""
    missing = importlib.util.find_spec("torchaudio") is None
    if missing:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        return importlib.import_module(
            "transformers.models.higgs_audio_v2_tokenizer.modeling_higgs_audio_v2_tokenizer"
        )
    finally:
        if missing:
            del sys.modules["torchaudio"]


def higgs() -> Any:
    model = seeded(Higgs)
    fill(model.quantizer.quantizers, 0.5)
    return model


def chameleon() -> Any:
    config = ChameleonVQVAEConfig(
        embed_dim=8,
        num_embeddings=K,
        latent_channels=8,
        resolution=16,
        base_channels=32,
        channel_multiplier=[1, 2],
        num_res_blocks=1,
    )
    return with_table(lambda: ChameleonVQVAE(config), 0.02)


def janus() -> Any:
    config = JanusVQVAEConfig(
        embed_dim=8,
        num_embeddings=K,
        latent_channels=8,
        base_channels=32,
        channel_multiplier=[1, 2],
        num_res_blocks=1,
        num_patches=8,
    )
    return with_table(lambda: JanusVQVAE(config), 0.02)


def glm_image() -> Any:
    config = GlmImageVQVAEConfig(embed_dim=8, num_embeddings=K, latent_channels=12)
    return with_table(lambda: GlmImageVQVAE(config))


def emu3() -> Any:
    config = Emu3VQVAEConfig(
        codebook_size=K,
        embed_dim=4,
        latent_channels=4,
        base_channels=32,
        channel_multiplier=[1, 2],
        num_res_blocks=1,
        hidden_size=64,
        attn_resolutions=[1],
    )
    return with_table(lambda: Emu3VQVAE(config))


def with_table(make: Callable[[], nn.Module], scale: float = 0.5) -> Any:
    model = seeded(make)
    weight = model.get_parameter("quantize.embedding.weight")
    with torch.no_grad():
        weight.copy_(scale * noise(*weight.shape))
    return model


def project(quantizer: Any, x: Tensor) -> Tensor:
    return x if quantizer.input_proj is None else quantizer.input_proj(x)


def sound(batch: int) -> dict[str, Any]:
    return {"input_values": noise(batch, 1, 640, seed=1)}


def pixels(batch: int) -> dict[str, Any]:
    return {"pixel_values": noise(batch, 3, 16, 16, seed=1)}


TABLE: dict[str, Any] = {"paths": ("quantize",), "method": "forward"}
CASES = {
    "mimi": Case(
        mimi,
        sound,
        (
            "quantizer.semantic_residual_vector_quantizer",
            "quantizer.acoustic_residual_vector_quantizer",
        ),
        compared=project,
    ),
    "encodec": Case(encodec, lambda n: sound(n) | {"bandwidth": 108.0}, ("quantizer",)),
    "xcodec": Case(xcodec, lambda n: {"input_values": noise(n, 1, 3200, seed=1)}, ("quantizer",)),
    "dac": Case(dac, sound, ("quantizer",), method="forward", result=1),
    "higgs": Case(
        higgs,
        lambda n: {"embeddings": noise(n, 32, 20, seed=1)},
        ("quantizer",),
    ),
    "chameleon": Case(chameleon, pixels, **TABLE),
    "janus": Case(janus, pixels, **TABLE),
    "emu3": Case(
        emu3,
        lambda n: pixels(n) | {"image_sizes": torch.tensor([[16, 16]] * n)},
        channels=2,
        **TABLE,
    ),
    "glm_image": Case(
        glm_image,
        lambda n: {"hidden_states": noise(n, 12, 8, 8, seed=1)},
        compared=lambda quantizer, x: F.normalize(x, dim=1),
        **TABLE,
    ),
}


def converted(inputs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Floating-point tensors in a dtype."""
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
    }


@contextmanager
def recorded(model: nn.Module, case: Case) -> Iterator[list[Call]]:
    """Lists what every quantiser of the case is given and gives, patched or not."""
    calls: list[Call] = []
    undo: list[Callable[[], None]] = []
    for path in case.paths:
        quantizer = model.get_submodule(path)
        before = vars(quantizer).get(case.method)
        ours = _listening(quantizer, getattr(quantizer, case.method), case, calls)
        setattr(quantizer, case.method, ours)
        undo.append(_restore(quantizer, case.method, before))
    try:
        yield calls
    finally:
        for step in undo:
            step()


def _listening(quantizer: nn.Module, call: Callable[..., Any], case: Case, calls: list[Call]):
    def listening(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = call(x, *args, **kwargs)
        features = case.compared(quantizer, x).movedim(case.channels, -1)
        features = features.reshape(-1, features.shape[-1]).detach()
        if case.method == "encode":
            codes = result.permute(1, 2, 0).reshape(len(features), -1)
        else:
            codes = result[case.result] if isinstance(result, tuple) else result
            if hasattr(quantizer, "n_codebooks"):  # DAC: [B, levels, T]
                codes = codes.movedim(1, -1)
            codes = codes.reshape(len(features), -1)
        calls.append(Call(quantizer, features, codes))
        return result

    return listening


def _restore(quantizer: nn.Module, name: str, before: Any) -> Callable[[], None]:
    def restore() -> None:
        del vars(quantizer)[name]
        if before is not None:
            setattr(quantizer, name, before)

    return restore
