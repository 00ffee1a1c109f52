"""A user's data, from check to adapted encoder to evaluation, on pictures drawn here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image

from craft.data.domains.manifest import DomainManifest
from craft.data.readers import record
from craft.family.family import ModelFamily
from craft.family.manifest import write_anew
from craft.models.encoder_pack import EncoderPack
from tests.craft.cli.commands import QUICK, craft_command, done, one_error_line

pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")


@pytest.fixture
def llava_file(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """Twenty pictures, half of them with a second question."""
    entries = []
    for i in range(20):
        draw(tmp_path / f"images/{i}.jpg", i)
        turns = [("human", "<image>\nWhat is shown in the image?"), ("gpt", f"thing {'ab'[i % 2]}")]
        if i % 2:
            turns += [("human", "What group?"), ("gpt", "group")]
        turns = [("human", turns[0][1]), ("gpt", ["thing aa", "thing bb"][i % 2]), *turns[2:]]
        said = [{"from": speaker, "value": text} for speaker, text in turns]
        entries.append({"id": f"x{i}", "image": f"{i}.jpg", "conversations": said})
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(entries, indent=1))
    return path


def adapt_and_evaluate(data: Path, models: Path, out: Path, *options: object) -> dict:
    """Run ``craft adapt`` and ``craft evaluate``."""
    pack = out / "pack"
    done(
        craft_command("adapt", "--data", data, "--out", pack, "--models", models, *QUICK, *options)
    )
    arguments = ["--models", models, "--general-images", "3", "--keep-ratio", "0.5"]
    done(craft_command("evaluate", pack, "--out", out / "scores", *arguments))
    return json.loads((out / "scores/results.json").read_text())


def test_a_folder_of_classes_becomes_an_encoder_and_an_evaluation(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    results = adapt_and_evaluate(class_folder, tiny_models.directory, out, "--subject", "object")
    manifest = DomainManifest.load(out / "pack/domain.json")
    pack = EncoderPack.load(out / "pack")
    assert pack.notes["domain"] == results["domain"] == "things"
    assert pack.notes["heldout_classes"] == manifest.heldout
    assert pack.prior is not None
    assert results["models"]["llama"]["keep_0.5"]["n"] == {
        "all": 16, "seen": 14, "heldout": 2, "general": 3
    }  # fmt: skip
    lines = (out / "scores/predictions.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines if json.loads(line)["part"] == "domain"]
    assert {row["id"] for row in asked} == set(manifest.parts.test)
    assert all(row["prompt"].startswith("What object is shown in the image?") for row in asked)


def test_a_llava_file_becomes_an_encoder_and_an_evaluation(
    llava_file: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    results = adapt_and_evaluate(llava_file, tiny_models.directory, tmp_path / "run")
    manifest = DomainManifest.load(tmp_path / "run/pack/domain.json")
    turns = {e["id"]: len(e["conversations"]) // 2 for e in json.loads(llava_file.read_text())}
    questions = sum(turns[key] for key in manifest.parts.test)
    scores = results["models"]["qwen2"]["keep_0.5"]
    assert scores["n"] == {"all": questions, "seen": questions, "heldout": 0, "general": 3}
    assert scores["heldout"] is None


def test_moved_data_is_found_and_changed_data_refused(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    models = tiny_models.directory
    pack = tmp_path / "pack"
    done(craft_command("adapt", "--data", class_folder, "--out", pack, "--models", models, *QUICK))
    moved = shutil.move(class_folder, tmp_path / "moved")
    arguments = ["evaluate", pack, "--out", tmp_path / "s", "--models", models]
    line = one_error_line(craft_command(*arguments))
    assert f"{class_folder}, which no longer exists; give its new place with --data PATH" in line
    few = ["--general-images", "3", "--llm", "qwen2", "--test-limit", "4"]
    done(craft_command(*arguments, "--data", moved, *few))
    done(craft_command("prior", pack, "--data", moved, "--models", models, "--force"))
    draw(Path(moved) / "thing_cc/new.png", 99)
    line = one_error_line(craft_command(*arguments, "--data", moved, "--force"))
    assert "the data is not what the manifest was made for" in line


def test_a_pack_of_the_pocket_world_does_not_keep_a_manifest(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    arguments = ["adapt", "--out", tmp_path / "pack", "--models", tiny_models.directory, *QUICK]
    done(craft_command(*arguments, "--data", class_folder))
    done(craft_command(*arguments, "--domain", "flags", "--force"))
    assert not (tmp_path / "pack/domain.json").exists()
    more = ["--out", tmp_path / "s", "--models", tiny_models.directory]
    line = one_error_line(
        craft_command("evaluate", tmp_path / "pack", "--data", class_folder, *more)
    )
    assert "holds no domain.json" in line


@pytest.mark.parametrize("options", [[], ["--domain", "flags", "--data", "x"]])
def test_adapt_wants_one_of_domain_and_data(options: list[str], tmp_path: Path) -> None:
    line = one_error_line(craft_command("adapt", "--out", tmp_path / "o", *options))
    assert "either --domain or your own data" in line


def test_names_the_models_cannot_say_are_refused(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    (class_folder / "thing_aa").rename(class_folder / "platypus")
    arguments = ["--data", class_folder, "--models", tiny_models.directory]
    line = one_error_line(craft_command("adapt", "--out", tmp_path / "o", *arguments))
    assert "'qwen2' does not know 1 word: 'platypus'" in line
    assert not (tmp_path / "o").exists()


def test_hard_distractors_are_kept_in_the_manifest(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    arguments = ["--data", class_folder, "--models", tiny_models.directory, *QUICK]
    done(craft_command("adapt", "--out", tmp_path / "p", *arguments, "--distractors", "hard"))
    manifest = DomainManifest.load(tmp_path / "p/domain.json")
    assert manifest.distractors == "hard"
    assert set(manifest.options) == set(manifest.parts.test)


def test_check_shows_what_was_understood(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["--models", tiny_models.directory, "--out", sheet, "--subject", "thing"]
    shown = done(craft_command("data", "check", class_folder, *arguments))
    for fact in (
        "image_folder: 80 images, 8 classes",
        "50 train, 6 validation, 16 test, 8 of held-out classes unused",
        "test: 20% of every class, drawn with seed 0",
        "image 30×20 → 24×24",
        "What thing is shown in the image?",
        "Answer in one letter only.",
        "Answer as succinctly as possible.",
    ):
        assert fact in shown
    with Image.open(sheet) as image:
        assert image.size == (3 * 192, 192)


def test_check_shows_questions(llava_file: Path, tiny_models: ModelFamily) -> None:
    shown = done(craft_command("data", "check", llava_file, "--models", tiny_models.directory))
    assert "llava: 20 images, questions" in shown
    assert "questions 30" in shown
    assert "10 conversations have several questions; each is asked separately" in shown


def test_check_refuses_with_file_and_line(llava_file: Path, tiny_models: ModelFamily) -> None:
    arguments = ["data", "check", llava_file, "--models", tiny_models.directory]
    image = llava_file.parent / "images/7.jpg"
    image.write_bytes(image.read_bytes()[:300])
    assert "mine.json:" in one_error_line(craft_command(*arguments))
    shown = done(craft_command(*arguments, "--skip-corrupt"))
    assert "skipped 1 images that cannot be read" in shown
    assert "7.jpg" in shown


@pytest.mark.parametrize(("options", "decoded"), [([], 83), (["--quick"], 3)])
def test_check_decodes_every_image_unless_told_not_to(
    class_folder: Path,
    tiny_models: ModelFamily,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    decoded: int,
) -> None:
    seen = []
    decode = record.decode

    def counted(data, chosen=None):
        seen.append(data)
        return decode(data, chosen)

    monkeypatch.setattr(record, "decode", counted)
    models = tiny_models.directory
    done(craft_command("data", "check", class_folder, "--models", models, *options))
    assert len(seen) == decoded


def test_check_and_adapt_refuse_the_same_words(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    (class_folder / "thing_aa").rename(class_folder / "platypus")
    models = ["--models", tiny_models.directory]
    checked = craft_command("data", "check", class_folder, *models)
    adapted = craft_command("adapt", "--data", class_folder, "--out", tmp_path / "o", *models)
    assert one_error_line(checked) == one_error_line(adapted)
    assert "image_folder: 80 images" in checked.stdout  # it is shown all the same


@pytest.fixture
def word_poor(tiny_models: ModelFamily, tmp_path: Path) -> Path:
    """A family whose second language model does not know the word "group", but "thing"."""
    directory = shutil.copytree(tiny_models.directory, tmp_path / "poor")
    tokenizer = directory / "llama/tokenizer/tokenizer.json"
    content = json.loads(tokenizer.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["gruppe"] = vocabulary.pop("group")
    tokenizer.write_text(json.dumps(content))
    write_anew(directory)
    return directory


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "Which platypus is the quokka?"}, "2 words: 'platypus', 'quokka'"),
        ({"answer": "a platypus"}, "1 word: 'platypus'"),
        ({"options": ["thing aa", "platypus"], "answer": "thing aa"}, "1 word: 'platypus'"),
    ],
)
def test_unknown_words_of_questions_answers_and_options_are_refused(
    tiny_models: ModelFamily,
    tmp_path: Path,
    draw: Callable[..., Path],
    change: dict,
    message: str,
) -> None:
    rows = []
    for i in range(12):
        draw(tmp_path / f"{i}.png", i)
        row = {"image": f"{i}.png", "question": "what thing", "answer": "thing aa"}
        rows.append(row | {"options": ["thing aa", "thing bb"]})
    del rows[5]["options"]
    rows[5] |= change
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = ["--models", tiny_models.directory]
    line = one_error_line(craft_command("data", "check", path, *models))
    assert f"the language model 'qwen2' does not know {message}" in line
    assert line == one_error_line(
        craft_command("adapt", "--data", path, "--out", tmp_path / "o", *models)
    )


def test_an_unknown_subject_is_refused(class_folder: Path, tiny_models: ModelFamily) -> None:
    arguments = ["data", "check", class_folder, "--models", tiny_models.directory]
    line = one_error_line(craft_command(*arguments, "--subject", "platypus"))
    assert "'qwen2' does not know 1 word: 'platypus'" in line


@pytest.fixture
def silent_siglip(tiny_models: ModelFamily, tmp_path: Path) -> Path:
    """A family whose SigLIP does not know the word "thing"."""
    directory = shutil.copytree(tiny_models.directory, tmp_path / "silent")
    tokenizer = directory / "siglip/tokenizer.json"
    content = json.loads(tokenizer.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["ding"] = vocabulary.pop("thing")
    content["added_tokens"] = [t for t in content["added_tokens"] if t["special"]]
    content["model"]["vocab"] |= {f"w{i}": len(vocabulary) + i for i in range(20)}
    tokenizer.write_text(json.dumps(content))
    write_anew(directory)
    return directory


def test_contrastive_texts_are_read_by_siglip(
    class_folder: Path, silent_siglip: Path, tmp_path: Path
) -> None:
    models = ["--models", silent_siglip]
    line = one_error_line(craft_command("data", "check", class_folder, *models))
    assert "SigLIP does not know 1 word: 'thing' of the contrastive texts" in line
    adapting = ["adapt", "--data", class_folder, "--out", tmp_path / "o", *models, *QUICK]
    assert one_error_line(craft_command(*adapting)) == line
    without = ["--set", "lambda_con=0"]
    done(craft_command("data", "check", class_folder, *models, *without))
    done(craft_command(*adapting, *without))


def test_a_word_poor_model_blocks_nobody_else(
    class_folder: Path, word_poor: Path, tmp_path: Path
) -> None:
    (class_folder / "thing_aa").rename(class_folder / "group")
    models = ["--models", word_poor]
    pack = tmp_path / "pack"
    done(craft_command("data", "check", class_folder, *models))
    done(craft_command("adapt", "--data", class_folder, "--out", pack, *models, *QUICK))
    line = one_error_line(
        craft_command("data", "check", class_folder, *models, "--surrogate", "llama")
    )
    assert "'llama' does not know 1 word: 'group'" in line
    few = ["--general-images", "3", "--test-limit", "4", *models]
    shown = done(craft_command("evaluate", pack, "--out", tmp_path / "s", *few))
    assert "left out llama: the language model 'llama' does not know 1 word: 'group'" in shown
    results = json.loads((tmp_path / "s/results.json").read_text())
    assert list(results["models"]) == ["qwen2"]
    shown = done(craft_command("transfer", pack, "--out", tmp_path / "t", *few))
    assert "left out llama" in shown
    line = one_error_line(
        craft_command("evaluate", pack, "--out", tmp_path / "u", *few, "--llm", "llama")
    )
    assert "'llama' does not know 1 word: 'group'" in line
    assert not (tmp_path / "u").exists()


def test_a_missing_siglip_tokenizer_is_found_before_anything_is_read(
    tiny_models: ModelFamily, tmp_path: Path
) -> None:
    directory = shutil.copytree(tiny_models.directory, tmp_path / "models")
    for file in (directory / "siglip").glob("tokenizer*"):
        file.unlink()
    models = ["--models", directory]
    nowhere, without = tmp_path / "nowhere", ["--set", "lambda_con=0"]
    for command in (
        ["data", "check", nowhere],
        ["adapt", "--data", nowhere, "--out", tmp_path / "o"],
        ["adapt", "--data", nowhere, "--out", tmp_path / "o", *without, "--distractors", "hard"],
        ["few-shot", "--out", tmp_path / "o"],
        ["demo", "--out", tmp_path / "o"],
    ):
        line = one_error_line(craft_command(*command, *models))
        assert "holds no SigLIP tokenizer" in line
        assert not (tmp_path / "o").exists()
    assert "--set lambda_con=0" in one_error_line(craft_command("data", "check", nowhere, *models))
    assert "nowhere" in one_error_line(craft_command("data", "check", nowhere, *models, *without))


def test_list_names_the_ten() -> None:
    shown = done(craft_command("data", "list"))
    for key in ("iconqa", "eurosat", "dogs"):
        assert key in shown


def test_several_undecodable_images_are_told_in_one_run(
    class_folder: Path, tiny_models: ModelFamily
) -> None:
    bad = [class_folder / f"thing_{name}/3.png" for name in ("aa", "bb", "cc")]
    for number, image in enumerate(bad):
        image.write_bytes(image.read_bytes()[:60] if number else b"no image at all")
    line = one_error_line(
        craft_command("data", "check", class_folder, "--models", tiny_models.directory)
    )
    assert "2 more faults" in line
    assert all(f"{image}: " in line for image in bad)


@pytest.fixture
def mixed_folder(class_folder: Path, tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """Eighty sound images in class folders, two behind links, and the usual other files."""
    aa, bb, cc = (class_folder / f"thing_{name}" for name in ("aa", "bb", "cc"))
    for junk in (".DS_Store", "._0.png", "Thumbs.db", ".ipynb_checkpoints/0.png", "@eaDir/0.png"):
        draw(aa / "x.png").rename(aa / "x.tmp")
        (aa / junk).parent.mkdir(exist_ok=True)
        (aa / "x.tmp").rename(aa / junk)
    draw(class_folder / "__MACOSX/thing_aa/0.png")
    draw(class_folder / ".git/objects/0.png")
    draw(tmp_path / "elsewhere/linked.png", 101)
    draw(tmp_path / "elsewhere/folder/more.png", 102)
    (aa / "linked.png").symlink_to(tmp_path / "elsewhere/linked.png")
    (aa / "folder").symlink_to(tmp_path / "elsewhere/folder")
    (aa / "circle").symlink_to(class_folder)
    (bb / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (bb / "empty.png").write_bytes(b"")
    (bb / "cut.png").write_bytes((bb / "0.png").read_bytes()[:60])
    (cc / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (cc / "note.txt").write_text("retake number 4")
    (class_folder / "README.md").write_text("# Things")
    return class_folder


def test_the_report_on_a_mixed_folder_says_what_to_do(
    mixed_folder: Path, tiny_models: ModelFamily, draw: Callable[..., Path]
) -> None:
    aa, bb, cc = (mixed_folder / f"thing_{name}" for name in ("aa", "bb", "cc"))
    arguments = ["data", "check", mixed_folder, "--models", tiny_models.directory]
    pointer, phone = cc / "pointer.png", cc / "phone.png"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    phone.write_bytes((cc / "phone.heic").read_bytes())
    refused = craft_command(*arguments, "--skip-corrupt")
    line = one_error_line(refused)  # sound images that are not read are never skipped
    assert f"{pointer}: image {pointer}: is a Git LFS pointer" in line
    assert "run `git lfs pull`" in line
    assert (
        f"{phone}: image {phone}: is HEIC, which is not supported; convert it to PNG or JPEG"
        in line
    )
    draw(pointer, 103)
    draw(phone, 104)
    passed = craft_command(*arguments, "--skip-corrupt")
    shown = done(passed)
    assert "image_folder: 84 images, 8 classes" in shown

    def told(output: str, reason: str) -> dict[str, str]:
        """The places listed under a reason, with the remark on each."""
        _, _, after = output.partition(f"{reason}\n")
        lines = []
        for text in after.splitlines():
            if not text.startswith("  "):
                break
            lines.append(text.strip())
        return {place: why for place, _, why in (text.partition(": ") for text in lines)}

    for result in (refused, passed):
        damaged = told(result.stdout, "skipped 3 images that cannot be read")
        assert damaged.keys() == {str(bb / f"{name}.png") for name in ("cut", "dangling", "empty")}
        assert "truncated" in damaged[str(bb / "cut.png")]
        assert "there is no such file" in damaged[str(bb / "dangling.png")]
        assert "an empty file" in damaged[str(bb / "empty.png")]
        hidden = told(result.stdout, "skipped 7 hidden or system files and folders")
        names = (".DS_Store", "._0.png", "Thumbs.db", ".ipynb_checkpoints", "@eaDir")
        junk = {aa / name for name in names} | {mixed_folder / ".git", mixed_folder / "__MACOSX"}
        assert hidden.keys() == set(map(str, junk))
        heic = told(result.stdout, "skipped 1 images in unsupported formats")
        assert heic == {str(cc / "phone.heic"): "convert it to PNG or JPEG"}
        others = told(result.stdout, "skipped 2 files that are not images")
        assert others.keys() == {str(cc / "note.txt"), str(mixed_folder / "README.md")}
        circles = told(result.stdout, "skipped 1 links back to a folder above them")
        assert circles.keys() == {str(aa / "circle")}
    strict = craft_command(*arguments)
    line = one_error_line(strict)
    assert all(str(bb / f"{name}.png") in line for name in ("cut", "dangling", "empty"))
    assert "3 images are missing or damaged; --skip-corrupt leaves them out" in strict.stdout


def test_samples_replace_a_file_only_if_asked(
    class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
) -> None:
    out = tmp_path / "samples.png"
    out.write_text("mine")
    arguments = ["data", "check", class_folder, "--models", tiny_models.directory, "--out", out]
    line = one_error_line(craft_command(*arguments))
    assert f"--out {out} exists" in line
    assert "--force" in line
    assert out.read_text() == "mine"
    done(craft_command(*arguments, "--force"))
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_account_is_printed_also_where_a_folder_or_saved_data_set_fails(
    class_folder: Path, tiny_models: ModelFamily, draw: Callable[..., Path], tmp_path: Path
) -> None:
    models = ["--models", tiny_models.directory]
    draw(class_folder / "thing_aa/@eaDir/0.png")
    (class_folder / "thing_zz").mkdir()
    result = craft_command("data", "check", class_folder, *models)
    assert "thing_zz: a class without images" in one_error_line(result)
    assert "skipped 1 hidden or system files and folders" in result.stdout
    rows = [{"image": None, "label": "cat"}, {"image": {"bytes": b"x"}, "label": ""}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    result = craft_command("data", "check", tmp_path / "saved", *models)
    assert "row 1: label must be a class name" in one_error_line(result)
    assert "skipped 1 rows without an image" in result.stdout


def test_pages_are_told_by_check_and_by_adapt(
    class_folder: Path,
    tiny_models: ModelFamily,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = ["--models", tiny_models.directory]
    pages = [Image.new("RGB", (30, 20), (40 * i, 90, 90)) for i in range(3)]
    pages[0].save(class_folder / "thing_aa/pages.tiff", save_all=True, append_images=pages[1:])
    shown = done(craft_command("data", "check", class_folder, *models))
    told = "warning 1 images with several pages or frames, of which only the first is read"
    assert told in shown
    assert "pages.tiff: the first of 3" in shown
    pack = tmp_path / "pack"
    done(craft_command("adapt", "--data", class_folder, "--out", pack, *models, *QUICK))
    assert "images with several pages or frames" in caplog.text
