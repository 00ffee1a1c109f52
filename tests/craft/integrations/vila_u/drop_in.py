"""A full run of the drop-in inside VILA-U's environment, with only torch, numpy and safetensors.

Runs on torch 2.3, which VILA-U pins; nothing here or in what it imports may need transformers,
pydantic or typer. ``python -m tests.craft.integrations.vila_u.drop_in FOLDER`` checks all of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WIDTH, CODES, LEVELS, SIZE, PATCH = 16, 24, 4, 32, 4
GRID = SIZE // PATCH


class Quantizer(nn.Module):
    """Like VILA-U's: nearest by distances in the input's dtype, with a last row of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_shape = torch.Size((GRID, GRID, WIDTH))
        self.code_shape = torch.Size((GRID, GRID, LEVELS))
        words = nn.Embedding(CODES + 1, WIDTH, padding_idx=CODES)
        self.codebooks: Any = nn.ModuleList([words] * LEVELS)
        self.codebooks.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        residual, total, codes, sums = x.detach().clone(), torch.zeros_like(x), [], []
        for words in self.codebooks:
            table = words.weight[:-1]
            distances = residual.pow(2).sum(-1, keepdim=True) + table.pow(2).sum(-1)
            code = (distances - 2 * residual @ table.T).argmin(-1)
            residual, total = residual - words(code), total + words(code)
            codes.append(code)
            sums.append((x - total.detach()).pow(2).mean())
        return x + (total - x).detach(), torch.stack(sums).mean(), torch.stack(codes, -1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(WIDTH)
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc(self.layer_norm(x)).tanh()


class Encoder(nn.Module):
    """Has the module names of VILA-U's encoder; its blocks are simpler than SigLIP's."""

    def __init__(self) -> None:
        super().__init__()
        vision: Any = nn.Module()
        vision.embeddings = nn.Module()
        vision.embeddings.patch_embedding = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        vision.encoder = nn.Module()
        vision.encoder.layers = nn.ModuleList(Block() for _ in range(3))
        self.siglip_model: Any = nn.Module()
        self.siglip_model.vision_model = vision
        self.quantizer = Quantizer()

    def encode_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        vision = self.siglip_model.vision_model
        x = vision.embeddings.patch_embedding(image).permute(0, 2, 3, 1)
        for block in vision.encoder.layers[:-1]:
            x = block(x)
        quantized, _, codes = self.quantizer(x)
        return codes, quantized


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision_tower: Any = nn.Module()
        self.vision_tower.rqvaesiglip = Encoder()

    def forward(self, images: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        codes, quantized = self.vision_tower.rqvaesiglip.encode_image(images)
        return quantized.flatten(1, 2), codes.flatten(1, 2) + vocabulary


class Model(nn.Module):
    """Answers with the mean of the projector's output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vision_tower: Any = Tower()
        self.mm_projector = nn.Linear(WIDTH, 8)
        self.llm: Any = nn.Module()
        self.llm.vocab_size = 40
        self.eval()

    def encode_images(self, images: Tensor, image_ids: Any = None) -> tuple[Tensor, Tensor]:
        features, tokens = self.vision_tower(images, self.llm.vocab_size)
        return self.mm_projector(features), tokens

    def prepare_inputs_labels_for_multimodal(
        self, input_ids, position_ids, attention_mask, past_key_values, labels, images
    ) -> Any:
        return self.encode_images(images)

    def generate_content(self, prompt: Any) -> tuple[Tensor, Tensor]:
        return self.prepare_inputs_labels_for_multimodal(None, None, None, None, None, prompt[0])


def pixels(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1


def nearest(features: Tensor, table: Tensor) -> Tensor:
    """Codes in float64, with residuals rounded to float32, as the definition says."""
    residual, codes = features.float(), []
    for _ in range(LEVELS):
        code = torch.cdist(residual.double(), table.double()).argmin(-1)
        residual = residual - table[code]
        codes.append(code)
    return torch.stack(codes, -1)


def check(folder: Path) -> None:
    """Check everything that the drop-in does; raises AssertionError if something fails."""
    from craft.integrations.vila_u import capture, codebook_of, count_prior, export, patch

    model, images = Model(), pixels()
    encoder = model.vision_tower.vision_tower.rqvaesiglip
    before = model.generate_content([images])
    keys = list(model.state_dict())
    prior = count_prior(model, images)
    assert prior.total == 3 * GRID * GRID
    # A keep ratio of 1 changes nothing; 0.8 keeps 51 of 64 tokens, in raster order.
    handle = patch(model, prior=prior, keep_ratio=1.0)
    assert all(map(torch.equal, model.generate_content([images]), before))
    handle.unpatch()
    handle = patch(model, prior=prior, keep_ratio=0.8)
    features, tokens = model.generate_content([images])
    assert features.shape[1] == tokens.shape[1] == 51
    assert handle.last is not None
    rows = handle.last.indices
    assert (rows.diff(dim=1) > 0).all()
    assert torch.equal(tokens, before[1].gather(1, rows[..., None].expand(-1, -1, LEVELS)))
    prior.save(folder / "prior.safetensors")
    assert type(prior).load(folder / "prior.safetensors").total == prior.total
    handle.unpatch()
    # Exact codes, whatever the dtype of the model.
    table = codebook_of(encoder.quantizer).table
    handle = patch(model, keep_ratio=1.0, precision="exact")
    with capture(model) as encodings:
        _, tokens = model.generate_content([images])
    seen = encodings[0].features.detach().flatten(1, 2)
    assert torch.equal(tokens - model.llm.vocab_size, nearest(seen, table))
    handle.unpatch()
    assert list(model.state_dict()) == keys
    # Training through it.
    with capture(model) as encodings:
        answer = model.generate_content([images])[0].sum()
        (answer + encodings[0].commitment).backward()
    embedding = encoder.siglip_model.vision_model.embeddings.patch_embedding.weight
    assert embedding.grad.abs().sum() > 0
    assert encoder.quantizer.codebooks[0].weight.grad is None
    # Back into a checkpoint.
    write_checkpoint(folder / "vila-u-7b-256", model)
    with torch.no_grad():
        embedding.add_(0.5)
    export(model, folder / "vila-u-7b-256", folder / "tuned-vila-u-7b-256")
    (name,) = [n for n in stored(model) if n.endswith("patch_embedding.weight")]
    tuned = load_file(folder / "tuned-vila-u-7b-256/vision_tower/model.safetensors")
    assert torch.equal(tuned[name], embedding)
    assert (folder / "tuned-vila-u-7b-256/llm/config.json").is_file()


def stored(model: Model) -> dict[str, Tensor]:
    encoder = model.vision_tower.vision_tower.rqvaesiglip
    tensors = {f"rqvaesiglip.{n}": x for n, x in encoder.state_dict().items()}
    return {n: x for n, x in tensors.items() if "codebooks" not in n or "codebooks.0." in n}


def write_checkpoint(root: Path, model: Model) -> None:
    for part in ("vision_tower", "llm", "mm_projector"):
        (root / part).mkdir(parents=True)
        (root / part / "config.json").write_text("{}")
    tensors = {n: x.contiguous() for n, x in stored(model).items()}
    save_file(tensors, root / "vision_tower/model.safetensors")
    config = {"code_shape": [GRID, GRID, LEVELS], "shared_codebook": True}
    (root / "vision_tower/config.json").write_text(json.dumps({"rqvaesiglip": config}))


if __name__ == "__main__":
    import craft_kernels

    check(Path(sys.argv[1]))
    print(torch.__version__, craft_kernels.backend_info())
