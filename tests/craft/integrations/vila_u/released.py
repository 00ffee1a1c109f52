"""Write synthetic checkpoints of any size in the layout of VILA-U's releases."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, SiglipConfig, SiglipModel

from craft.pocket.build.vocabulary import build_tokenizer

WIDTH, CODES = 16, 24


@dataclass(frozen=True)
class Released:
    """Options of such a checkpoint.

    Args:
        stored: number of codebooks in the file; a shared one may be stored once or once per level.
        config: entries of rqvaesiglip's config that override the usual ones.
    """

    levels: int = 4
    shared: bool = True
    stored: int = 1
    dtype: torch.dtype = torch.bfloat16
    config: dict[str, Any] = field(default_factory=dict)


def write_released(root: Path, kind: Released) -> Path:
    """Write three folders and a config; SigLIP's config is where the tower's config names it."""
    block = {"intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = {"hidden_size": WIDTH, **block, "image_size": 24, "patch_size": 8}
    text = {"hidden_size": WIDTH, **block, "vocab_size": 64, "max_position_embeddings": 16}
    write_json(
        root / "siglip" / "config.json",
        {"model_type": "siglip", "vision_config": vision, "text_config": text},
    )
    with torch.random.fork_rng():
        torch.manual_seed(kind.levels)
        siglip = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        tensors = {f"rqvaesiglip.siglip_model.{n}": x for n, x in siglip.state_dict().items()}
        tensors["rqvaesiglip.logit_scale"] = tensors.pop("rqvaesiglip.siglip_model.logit_scale") + 1
        tensors |= quantizer_tensors(kind)
        tensors |= {
            "rqvaesiglip.post_quant_conv.weight": torch.randn(8, WIDTH, 1, 1),
            "rqvaesiglip.decoder.conv_in.weight": torch.randn(4, 8, 3, 3),
            "rqtransformer.pos_emb_d": torch.randn(1, kind.levels, 12),
            "rqtransformer.classifier_mlp.linear.weight": torch.randn(CODES, 12),
        }
        write_tensors(root / "vision_tower", tensors, kind.dtype)
        names = [f"thing {chr(97 + i) * 2}" for i in range(10)]
        tokenizer: Any = build_tokenizer([*names, "group"])
        llm: Any = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=24,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=len(tokenizer),
                initializer_range=0.5,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        llm.to(kind.dtype).save_pretrained(root / "llm", max_shard_size="8KB")
        tokenizer.save_pretrained(root / "llm")
        projector = {
            f"layers.{i}.{name}": torch.randn(shape)
            for i, width in ((0, WIDTH), (2, 24))
            for name, shape in (("weight", (24, width)), ("bias", (24,)))
        }
        write_tensors(root / "mm_projector", projector, kind.dtype)
    write_json(root / "mm_projector" / "config.json", {"mm_projector_type": "mlp2x_gelu"})
    write_json(root / "config.json", {"model_type": "vila_u_llama", "llm_cfg": {}})
    rqvaesiglip = {
        "code_shape": [3, 3, kind.levels],
        "latent_shape": [3, 3, WIDTH],
        "shared_codebook": kind.shared,
        "pretrained_model": "siglip",
    }
    write_json(root / "vision_tower" / "config.json", {"rqvaesiglip": rqvaesiglip | kind.config})
    write_json(root / "vision_tower" / "preprocessor_config.json", {"crop_size": 24})
    return root


def quantizer_tensors(kind: Released) -> dict[str, Tensor]:
    tables = [torch.randn(CODES + 1, WIDTH) for _ in range(1 if kind.shared else kind.levels)]
    count = kind.stored if kind.shared else kind.levels
    tensors: dict[str, Tensor] = {}
    for level in range(count):
        table = tables[0 if kind.shared else level].clone()
        table[-1] = 0
        name = f"rqvaesiglip.quantizer.codebooks.{level}"
        tensors[f"{name}.weight"] = table
        tensors[f"{name}.embed_ema"] = table[:-1].clone()
        tensors[f"{name}.cluster_size_ema"] = torch.rand(CODES)
    return tensors


def write_tensors(folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cast = {name: x.to(dtype).contiguous() for name, x in tensors.items()}
    save_file(cast, folder / "model.safetensors", {"format": "pt"})


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def sentencepiece_model(path: Path, kind: str, size: int, **options: Any) -> None:
    """A SentencePiece model of these tests' words, in the library's own format."""
    sentences = [f"An image of a thing, specifically a {n}. what thing flag" for n in "abcdefgh"]
    flags = {"hard_vocab_limit": False, "minloglevel": 2, "pad_id": -1} | options
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences * 8),
            model_writer=file,
            vocab_size=size,
            model_type=kind,
            **flags,
        )


def only_sentencepiece(folder: Path) -> Any:
    """Make ``tokenizer.model`` the only tokenizer, as in VILA-U's releases; return its reader."""
    for file in folder.glob("token*"):
        file.unlink()
    stored = folder / "tokenizer.model"
    # Like LLaMA's: byte fallback, no pad token, significant blanks and line breaks.
    sentencepiece_model(
        stored, "bpe", 290, byte_fallback=True, unk_id=0, bos_id=1, eos_id=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(str(stored))
    grow(folder, processor.GetPieceSize())
    return processor


def grow(folder: Path, words: int) -> None:
    """Enlarge a language model's vocabulary to this size."""
    model = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(words, mean_resizing=False)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    model.save_pretrained(folder)
