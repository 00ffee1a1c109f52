"""Write tiny random checkpoints that the real VILA-U loads, with its own encoder classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from tests.craft.integrations.vila_u.checkout import build_tower, features, import_encoder

WORDS = "what is shown in this picture a cat or dog answer with one word please yes no red blue"


@dataclass(frozen=True)
class Tiny:
    """Shape of a checkpoint; VILA-U's code requires an encoder width of 1024."""

    levels: int = 4
    shared: bool = True
    codes: int = 1024  # VILA-U samples from the 900 likeliest
    dtype: torch.dtype = torch.float32


LAYOUTS = {
    "shared, 4 levels": Tiny(),
    "separate, 4 levels": Tiny(shared=False),
    "shared, 16 levels": Tiny(levels=16),
    "separate, 16 levels": Tiny(levels=16, shared=False),
}
BF16 = {f"{n}, bf16": Tiny(x.levels, x.shared, dtype=torch.bfloat16) for n, x in LAYOUTS.items()}


def write_checkpoint(root: Path, tiny: Tiny) -> Path:
    """Write a random VILA-U with four encoder blocks and two language model layers."""
    siglip = {
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 16,
            "image_size": 256,
            "patch_size": 16,
        },
        "text_config": {
            "hidden_size": 1024,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 16,
            "vocab_size": 16,
            "max_position_embeddings": 8,
        },
    }
    _write_json(root / "siglip" / "config.json", {"model_type": "siglip", **siglip})
    torch.manual_seed(0)
    tokenizer_size = _write_tokenizer(root / "llm")
    _write_tower(root, tiny)
    llama: Any = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=tokenizer_size,
        max_position_embeddings=1024,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    llm: Any = transformers.LlamaForCausalLM(llama)
    llm.to(tiny.dtype).save_pretrained(root / "llm")
    projector = {
        "layers.0.weight": torch.randn(64, 1024) * 0.05,
        "layers.0.bias": torch.randn(64) * 0.05,
        "layers.2.weight": torch.randn(64, 64) * 0.2,
        "layers.2.bias": torch.randn(64) * 0.2,
    }
    _write_tensors(root / "mm_projector", {n: x.to(tiny.dtype) for n, x in projector.items()})
    _write_json(
        root / "mm_projector" / "config.json",
        {"model_type": "v2l_projector", "mm_projector_type": "mlp2x_gelu"},
    )
    _write_json(
        root / "config.json",
        {
            "model_type": "vila_u_llama",
            "architectures": ["VILAULlamaModel"],
            "llm_cfg": {"model_type": "llama"},
            "vision_tower_cfg": {"model_type": "rqvaesigliptransformer_model"},
            "mm_projector_cfg": {"model_type": "v2l_projector"},
            "hidden_size": 64,
            "mm_hidden_size": 1024,
            "image_aspect_ratio": "resize",
            "num_video_frames": 2,
            "mm_use_im_start_end": True,
            "mm_use_vi_start_end": True,
            "mm_use_im_patch_token": False,
        },
    )
    return root


def _write_tower(root: Path, tiny: Tiny) -> None:
    classes = import_encoder()
    config = classes.RQVAESIGLIPTransformerConfig(
        hidden_size=1024,
        architectures=["RQVAESIGLIPTransformer"],
        rqvaesiglip={
            "embed_dim": 1024,
            "n_embed": tiny.codes,
            "latent_shape": [16, 16, 1024],
            "code_shape": [16, 16, tiny.levels],
            "shared_codebook": tiny.shared,
            "restart_unused_codes": True,
            "ddconfig": {
                "ch": 32,
                "out_ch": 3,
                "ch_mult": [1, 1, 1, 1, 1],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "in_channels": 3,
                "resolution": 256,
                "z_channels": 32,
            },
            "pretrained_model": str(root / "siglip"),
        },
        rqtransformer={
            "block_size": [16, 16, tiny.levels],
            "input_embed_dim_1": 1024,
            "input_embed_dim_2": 64,
            "embed_dim": 32,
            "vocab_size": tiny.codes,
            "head": {"n_layer": 1, "block": {"n_head": 2}},
        },
    )
    tower = build_tower(classes, config)
    with torch.no_grad():
        seen = features(tower.rqvaesiglip, torch.rand(4, 3, 256, 256) * 2 - 1).flatten(0, 2)
        scale = seen.std()
        for level, words in enumerate(tower.rqvaesiglip.quantizer.codebooks):
            if tiny.shared and level:
                break
            # Codewords near features at the first level, then of the residuals' size.
            near = seen[torch.randperm(len(seen))[: tiny.codes]]
            words.weight[:-1] = 0.7**level * (near + 0.3 * scale * torch.randn_like(near))
            words.weight[:-1:2] *= 0.3
            words.weight[-1] = 0
            words.embed_ema.copy_(words.weight[:-1])
    weights, once = {}, set()
    for name, tensor in sorted(tower.state_dict().items()):
        if tensor.data_ptr() not in once:  # shared tensors are stored once
            weights[name] = tensor.to(tiny.dtype)
            once.add(tensor.data_ptr())
    _write_tensors(root / "vision_tower", weights)
    config.save_pretrained(root / "vision_tower")


def _write_tokenizer(folder: Path) -> int:
    import sentencepiece  # pyright: ignore[reportMissingImports]

    folder.mkdir(parents=True)
    text = folder / "words.txt"
    text.write_text("\n".join([WORDS] * 8 + ["USER: ASSISTANT: A chat between a curious user and"]))
    sentencepiece.SentencePieceTrainer.Train(
        f"--input={text} --model_prefix={folder}/tokenizer --vocab_size=300 --model_type=bpe "
        "--byte_fallback=true --pad_id=-1 --unk_id=0 --bos_id=1 --eos_id=2 "
        "--hard_vocab_limit=false --minloglevel=2 "
        # as LLaMA's own, whose blanks and line breaks count
        "--normalization_rule_name=identity --remove_extra_whitespaces=false"
    )
    text.unlink()
    special = ["<im_start>", "<im_end>", "<vi_start>", "<vi_end>"]
    size = sentencepiece.SentencePieceProcessor(f"{folder}/tokenizer.model").GetPieceSize()
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<unk>",
            "legacy": False,
            "model_max_length": 2048,
            "added_tokens_decoder": {
                str(size + i): {"content": token, "special": True, "lstrip": False,
                                "rstrip": False, "normalized": False, "single_word": False}
                for i, token in enumerate(special)
            },
        },
    )  # fmt: skip
    return size + len(special)


def _write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: x.contiguous() for name, x in tensors.items()}
    save_file(contiguous, folder / "model.safetensors", {"format": "pt"})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
