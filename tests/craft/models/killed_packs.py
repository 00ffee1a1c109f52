"""Kill the replacement of a pack at every call to the disk, for test_encoder_pack.

Its arguments are MODELS and a directory; it prints the number of calls and what was found after
each.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.models.pack_card import read_pack_card
from craft.prior import TokenPrior
from craft.runtime.whole_file import remove_unfinished, write_json
from tests.craft.killing import die_at

#: Functions that touch the disk.
_DISK = (
    *((os, name) for name in ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")),
    *((Path, name) for name in ("unlink", "mkdir", "write_bytes", "chmod")),
    (shutil, "rmtree"),
)


def main() -> None:
    models, root = ModelFamily(Path(sys.argv[1])), Path(sys.argv[2])
    codebook = models.codebook
    tower = models.pretrained_tower()
    old = EncoderPack.of(
        tower, TokenPrior.empty(codebook, encoder_hash="old"), note="old", config={}
    )
    with torch.no_grad():
        next(tower.parameters()).add_(1)
    new = EncoderPack.of(
        tower, TokenPrior.empty(codebook, encoder_hash="new"), note="new", config={}
    )
    old_parts: dict[str, Any] = {
        "language_model": lambda path: write_json(path / "card.json", {"of": "old"}),
        "domain.json": lambda path: write_json(path, {"of": "old"}),
    }
    new_parts: dict[str, Any] = {"domain.json": lambda path: write_json(path, {"of": "new"})}

    def there(out: Path) -> str:
        """What a reader finds: one of the packs, complete, or a refusal."""
        try:
            found = EncoderPack.load(out)
        except CraftError:
            assert not (out / "pack.json").exists()
            return "refused"
        name = found.notes["note"]
        assert found.encoder_hash == {"old": old, "new": new}[name].encoder_hash
        assert found.prior is not None
        assert found.prior.encoder_hash == name
        assert json.loads((out / "domain.json").read_text()) == {"of": name}
        assert (out / "language_model").is_dir() == (name == "old")
        assert read_pack_card(out).files is not None
        assert (out / "train.jsonl").read_text() == "stays"
        return name

    kinds: list[str] = []
    for instant in range(10_000):
        out = root / str(instant)
        old.save(out, old_parts)
        (out / "train.jsonl").write_text("stays")
        child = os.fork()
        if child == 0:
            die_at(instant, _DISK)
            new.save(out, new_parts)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        kinds.append(there(out))
        remove_unfinished(out)
        assert there(out) == kinds[-1]
        new.save(out, new_parts)  # and a later run completes it
        assert there(out) == "new"
        names = {path.name for path in out.iterdir()}
        assert names == {
            *("pack.json", "encoder.safetensors", "prior.safetensors", "domain.json"),
            "train.jsonl",
        }, names
        shutil.rmtree(out)
        if status == 0:
            break
    order = {"old": 0, "refused": 1, "new": 2}
    assert kinds == sorted(kinds, key=order.__getitem__), kinds
    print(json.dumps({"instants": len(kinds), "there": sorted(set(kinds))}))


if __name__ == "__main__":
    main()
