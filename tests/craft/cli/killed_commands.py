"""Commands that are killed with -9 at random instants and run again, for test_killed_commands.

Its arguments are COMMAND MODELS ROOT KILLS SEED; it prints a JSON line. Children are forked, so
that a new process costs no new imports.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from craft.cli import app, process
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket import few_shot
from tests.craft.conftest import NAMES, image_set, picture
from tests.craft.integrations.vila_u.released import Released, write_released


@dataclass
class Attacked:
    """A command line, what it writes to, and what is said where that is there already."""

    words: list[str]
    out: Path
    there: str = ""


def align(models: Path, root: Path) -> list[Attacked]:
    """Both stages, from pictures by class and from conversations."""
    for number in range(80):
        save(root / "things" / NAMES[number // 10].replace(" ", "_") / f"{number}.png", number)
    talks = []
    for number in range(12):
        save(root / "talks" / f"{number}.png", number)
        said = [("human", "<image>\nwhat thing"), ("gpt", NAMES[number % 4])]
        turns = [{"from": who, "value": text} for who, text in said]
        talks.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (root / "talks" / "llava.json").write_text(json.dumps(talks))
    words = ["align", models / "llama", "--out", root / "out", "--models", models]
    words += ["--captions", root / "things", "--instructions", root / "talks" / "llava.json"]
    for setting in ("steps=4", "epochs=null", "batch=4", "validation_images=4"):
        words += ["--set", setting]
    words += ["--set", "checkpoint.every=1", "--resume", "auto"]
    return [Attacked([*map(str, words)], root / "out")]


def convert(models: Path, root: Path) -> list[Attacked]:
    """There, and back from what was converted."""
    released = write_released(root / "vila-u-7b-256", Released())
    there = ["convert", "vila-u", str(released)]
    siglip = ["--siglip-tokenizer", str(models / "siglip")]
    before = root / "before"
    run([*there, str(before), *siglip], root / "log")
    told = "exists; name a new directory"
    back = ["convert", "vila-u", str(before), str(root / "back"), "--back"]
    return [
        Attacked([*there, str(root / "out"), *siglip], root / "out", told),
        Attacked(back, root / "back", told),
    ]


def few_shots(models: Path, root: Path) -> list[Attacked]:
    words = ["few-shot", "--out", root / "out", "--domain", "flags", "--models", models]
    words += ["--epochs", "1", "--shots", "2"]
    return [Attacked([*map(str, words)], root / "out", "holds an earlier run of `craft few-shot`")]


def tokenize(models: Path, root: Path) -> list[Attacked]:
    for number in range(60):
        save(root / "things" / NAMES[number // 10].replace(" ", "_") / f"{number}.png", number)
    EncoderPack.of(ModelFamily(models).pretrained_tower()).save(root / "pack")
    words = ["tokenize", root / "things", "--pack", root / "pack", "--out", root / "out"]
    words += ["--shard-size", "4", "--models", models]
    return [Attacked([*map(str, words)], root / "out")]


COMMANDS = {"align": align, "convert": convert, "few-shot": few_shots, "tokenize": tokenize}


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)


def start(words: list[str], log: Path) -> int:
    """A child that runs the command; its id."""
    child = os.fork()
    if child:
        return child
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv = ["craft", *words]
        code = 1
        try:
            app.main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    finally:
        os._exit(1)


def run(words: list[str], log: Path) -> str:
    """Run the command to its end. What its one line says, if it refuses; else nothing."""
    _, status = os.waitpid(start(words, log), 0)
    code = os.waitstatus_to_exitcode(status)
    said = log.read_text()
    if code == 0:
        return ""
    assert code == 2, said[-3000:]
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said
    return line


def contents(out: Path) -> dict[str, Any]:
    """Of what a command has written, all but times and what depends on how long they are."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".jsonl":
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            free = ("seconds", "pace")
            found[name] = [{k: v for k, v in x.items() if k not in free} for x in entries]
        elif path.name == "state.json":
            card = json.loads(path.read_text())
            del card["checksum"], card["state"]["log_bytes"]
            found[name] = card
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def attack(command: Attacked, kills: int, rng: random.Random, root: Path) -> dict[str, int]:
    """Kill the command so many times, and after each see what running it again gives."""
    run(command.words, root / "log")  # once for what is only done the first time
    remove(command.out)
    begun = time.monotonic()
    assert run(command.words, root / "log") == ""
    length = time.monotonic() - begun
    whole = contents(command.out)
    facts = {"died": 0, "midway": 0, "ended": 0}
    while facts["died"] < kills:
        remove(command.out)
        while True:
            child = start(command.words, root / "log")
            time.sleep(rng.uniform(0, length))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                facts["died"] += 1
                there = contents(command.out) if command.out.is_dir() else {}
                beside = [p for p in root.iterdir() if p.name.startswith(f".{command.out.name}.")]
                facts["midway"] += bool(there or beside) and there != whole
            else:
                facts["ended"] += 1
                assert os.WEXITSTATUS(status) in (0, 2), (root / "log").read_text()[-3000:]
            if rng.random() < 0.7 or facts["died"] == kills:
                break
        refused = run(command.words, root / "log")
        assert not refused or (command.there and command.there in refused), refused
        after = contents(command.out)
        if refused:  # which writes nothing, so that a dead process's lock stays
            after.pop(".lock", None)
        assert after == whole, [x for x in {**after, **whole} if after.get(x) != whole.get(x)]
        left = [p.name for p in root.iterdir() if p.name.startswith(".")]
        assert not left, left
    return facts


def remove(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for left in out.parent.glob(f".{out.name}.*"):
        shutil.rmtree(left)


def main() -> None:
    name, models, root = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    kills, rng = int(sys.argv[4]), random.Random(int(sys.argv[5]))
    torch.set_num_threads(1)
    setattr(process, "prepare", lambda: None)  # noqa: B010
    images: Any = lambda area: image_set(area, {"train": 3, "test": 2})  # noqa: E731
    setattr(few_shot, "load_area", images)  # noqa: B010
    os.environ["CRAFT_CACHE"] = str(root / "cache")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    root.mkdir(parents=True)
    attacked = COMMANDS[name](models, root)
    found: list[dict[str, int]] = []
    for number, command in enumerate(attacked):
        share = kills // len(attacked) + (number < kills % len(attacked))
        found.append(attack(command, share, rng, root))
    print(json.dumps({key: sum(facts[key] for facts in found) for key in found[0]}))


if __name__ == "__main__":
    main()
