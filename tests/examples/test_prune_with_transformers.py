"""The example runs as written and gives the model's own answers."""

import runpy
from pathlib import Path

import torch

from craft.prior import TokenPrior
from tests.craft.conftest import picture, tiny_models, tiny_models_dir  # noqa: F401

EXAMPLE = Path(__file__).parents[2] / "examples" / "prune_with_transformers.py"


def test_runs(tiny_models, tmp_path, capsys):  # noqa: F811
    checkpoint, prior = tmp_path / "model", tmp_path / "prior.safetensors"
    model = tiny_models.lvlm("qwen2")
    model.save_pretrained(checkpoint)
    tiny_models.language_model("qwen2").tokenizer.save_pretrained(checkpoint / "tokenizer")
    TokenPrior(
        torch.arange(tiny_models.codebook.size) + 1,
        codebook_fingerprint=tiny_models.codebook.fingerprint,
        encoder_hash="x",
    ).save(prior)
    picture(1).save(tmp_path / "image.png")
    main = runpy.run_path(str(EXAMPLE))["main"]
    arguments = [
        checkpoint,
        prior,
        tmp_path / "image.png",
        "what thing",
        "--keep-ratio",
        "1",
        "0.5",
    ]
    answers = main([str(argument) for argument in arguments])
    shown = capsys.readouterr().out
    assert "attention: sdpa" in shown
    assert f"9 visual tokens: {answers[0]}" in shown
    assert f"5 visual tokens: {answers[1]}" in shown
