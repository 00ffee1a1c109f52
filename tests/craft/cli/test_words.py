"""``craft words`` lists the words that the models do not know."""

import json
import shutil

import pytest

from craft.family.manifest import write_anew
from tests.craft.cli.commands import craft_command, done, one_error_line

pytestmark = pytest.mark.usefixtures("quiet_process")


def test_every_reader_is_named_with_what_it_lacks(class_folder, tiny_models, tmp_path):
    (class_folder / "thing_aa").rename(class_folder / "red_platypus")
    list_ = tmp_path / "words.txt"
    arguments = ["words", class_folder, "--models", tiny_models.directory, "--subject", "gnu"]
    shown = done(craft_command(*arguments, "--out", list_))
    for reader in ("qwen2", "llama", "SigLIP"):
        assert f"{reader}: lacks 3" in shown
    assert list_.read_text() == "gnu\nplatypus\nred\n"
    assert "exists" in one_error_line(craft_command(*arguments, "--out", list_))
    done(craft_command(*arguments, "--out", list_, "--force"))


def test_one_reader_may_be_asked(class_folder, tiny_models, tmp_path):
    models = shutil.copytree(tiny_models.directory, tmp_path / "models")
    tokenizer = models / "llama/tokenizer/tokenizer.json"
    content = json.loads(tokenizer.read_text())
    content["model"]["vocab"]["gruppe"] = content["model"]["vocab"].pop("group")
    tokenizer.write_text(json.dumps(content))
    write_anew(models)
    (class_folder / "thing_aa").rename(class_folder / "group")
    shown = done(craft_command("words", class_folder, "--models", models))
    assert "qwen2: knows every word" in shown
    assert "llama: lacks 1" in shown
    shown = done(craft_command("words", class_folder, "--models", models, "--llm", "qwen2"))
    assert "llama" not in shown
