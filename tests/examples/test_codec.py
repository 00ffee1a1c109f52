import runpy
from pathlib import Path

import torch

from tests.craft.integrations.codecs.tiny import mimi

EXAMPLE = Path(__file__).parents[2] / "examples" / "codec.py"


def test_runs(tmp_path, capsys):
    mimi().save_pretrained(tmp_path)
    main = runpy.run_path(str(EXAMPLE))["main"]
    codes = main(["--checkpoint", str(tmp_path), "--seconds", "0.05", "--levels", "4"])
    shown = capsys.readouterr().out
    assert codes["ours"].shape == (1, 4, 75)
    assert torch.equal(codes["own"], codes["ours"])
    assert "75 frames of 4 codes" in shown
    assert "0 frames with other codes" in shown
    assert "decoding is unchanged" in shown


def test_runs_on_random_weights():
    main = runpy.run_path(str(EXAMPLE))["main"]
    codes = main(["--seconds", "0.5", "--levels", "3"])
    assert len(codes["ours"].unique()) > 3
