"""Conversion of VILA-U checkpoints to our models and back, tensor by tensor."""

import copy
import json
import re
import shutil

import pytest
import sentencepiece
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from craft.codebook import CodebookMismatchError
from craft.errors import CraftError
from craft.family.family import ModelFamily
from craft.integrations.vila_u import convert as converting
from craft.integrations.vila_u import export, load_tower
from craft.integrations.vila_u.convert import convert
from craft.integrations.vila_u.restore import restore
from craft.models import EncoderPack
from craft.models.prompt_template import VICUNA
from craft.models.text_batch import TextBatch
from craft.runtime.json_cards import with_checksum
from craft.runtime.stored_tensors import read_header
from tests.craft.integrations.vila_u.released import (
    CODES,
    WIDTH,
    Released,
    only_sentencepiece,
    sentencepiece_model,
    write_released,
)
from tests.craft.runtime.broken_files import DAMAGE

KINDS = {
    "256, shared": Released(),
    "256, shared, stored four times": Released(stored=4),
    "256, separate": Released(shared=False),
    "384, shared": Released(levels=16),
    "384, separate, float32": Released(levels=16, shared=False, dtype=torch.float32),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def released(kind, tmp_path):
    return write_released(tmp_path / "vila-u-7b-256", kind)


def pixels(count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 24, 24, generator=generator) * 2 - 1


def all_tensors(root):
    """All tensors of a checkpoint as bytes, and all other files."""
    tensors, files = {}, {}
    for path in sorted(root.rglob("*")):
        relative = str(path.relative_to(root))
        if path.suffix == ".safetensors":
            tensors[relative] = read_header(path).metadata
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    x = file.get_tensor(name)
                    raw = x.flatten().view(torch.uint8).numpy().tobytes()
                    tensors[f"{relative}:{name}"] = (str(x.dtype), tuple(x.shape), raw)
        elif path.is_file():
            files[relative] = path.read_bytes()
    return tensors, files


def test_there_and_back_every_byte_is_the_same(released, tmp_path):
    conversion = convert(released, tmp_path / "models")
    restore(tmp_path / "models", tmp_path / "back")
    assert all_tensors(tmp_path / "back") == all_tensors(released)
    total = sum(len(read_header(p).tensors) for p in released.rglob("*.safetensors"))
    scales = 2  # the pair's scale and bias are also kept aside, where they came from
    assert sum(conversion.used.values()) + len(conversion.aside) == total + scales
    assert "rqtransformer.pos_emb_d" in conversion.aside


def test_depth_size_and_sharing_are_the_files(released, kind, tmp_path):
    codebook = convert(released, tmp_path / "models").codebook
    assert (codebook.levels, codebook.size, codebook.dim) == (kind.levels, CODES, WIDTH)
    assert codebook.shared == kind.shared
    weights = load_file(released / "vision_tower" / "model.safetensors")
    table = codebook.table if kind.shared else codebook.table[-1]
    last = 0 if kind.shared else kind.levels - 1
    stored = weights[f"rqvaesiglip.quantizer.codebooks.{last}.weight"]
    assert torch.equal(table, stored[:-1].float())


def test_models_are_built_from_it(released, kind, tmp_path):
    convert(released, tmp_path / "models")
    family = ModelFamily(tmp_path / "models")
    assert family.names == ("vila-u",)
    language_model = family.language_model("vila-u")
    assert language_model.language_model.dtype == kind.dtype
    assert language_model.template == VICUNA
    llm = LlamaForCausalLM.from_pretrained(released / "llm", dtype=kind.dtype)
    model = family.lvlm("vila-u")
    assert model.config.prefix_ids == language_model.prefix_ids
    stored = load_file(released / "mm_projector" / "model.safetensors")
    w = {name: x.float() for name, x in stored.items()}
    x = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2))
    hidden = torch.nn.functional.gelu(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    expected = hidden @ w["layers.2.weight"].T + w["layers.2.bias"]
    found = copy.deepcopy(model.projector).float()(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = load_file(released / "vision_tower" / "model.safetensors")
    trained = weights["rqvaesiglip.logit_scale"].float()
    assert torch.equal(family.siglip.state_dict()["logit_scale"], trained)
    # Prefix, image and question, in VILA-U's layout.
    tokenizer = AutoTokenizer.from_pretrained(released / "llm")
    text = language_model.prompt_batch(["what thing"])
    before = tokenizer(VICUNA.before_image, add_special_tokens=False)["input_ids"]
    after = tokenizer("\nwhat thing ASSISTANT:", add_special_tokens=False)["input_ids"]
    assert text.input_ids[0].tolist() == after
    words = llm.get_input_embeddings()
    visual = model.visual_tokens(pixels(1).to(model.dtype))
    parts = [
        words(torch.tensor([[tokenizer.bos_token_id, *before]])),
        model.projector(visual.to(kind.dtype)),
        words(torch.tensor([after])),
    ]
    with torch.no_grad():
        expected = llm(inputs_embeds=torch.cat(parts, 1)).logits
        found = model(pixels(1).to(model.dtype), text.input_ids, text.attention_mask).logits
    assert torch.equal(found, expected)
    lesson = TextBatch(text.input_ids, text.attention_mask, text.input_ids)
    loss = language_model.answer_loss(visual, lesson)
    logits = expected[0, -len(after) - 1 : -1].float()
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, torch.tensor(after)))


def test_load_tower_is_the_converted_encoder(released, kind, tmp_path):
    convert(released, tmp_path / "models")
    tower = load_tower(released)
    assert next(tower.parameters()).dtype == kind.dtype
    full = load_tower(released, dtype=torch.float32)
    base = ModelFamily(tmp_path / "models").pretrained_tower()
    assert full.codebook == base.codebook
    assert torch.equal(full(pixels()).codes, base(pixels()).codes)
    weights = load_file(released / "vision_tower" / "model.safetensors")
    name = "rqvaesiglip.siglip_model.vision_model.encoder.layers.1.mlp.fc1.weight"
    assert torch.equal(tower.state_dict()["blocks.1.mlp.fc1.weight"], weights[name])
    assert len(tower.blocks) == 2


def test_an_adapted_encoder_goes_back(tmp_path):
    released = write_released(tmp_path / "vila-u-7b-256", Released())
    convert(released, tmp_path / "models")
    tower = load_tower(released, dtype=torch.float32)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.125)
    export(tower, released, tmp_path / "tuned-vila-u-7b-256")
    restore(tmp_path / "models", tmp_path / "back", pack=EncoderPack.of(tower))
    before, _ = all_tensors(released)
    for out in (tmp_path / "tuned-vila-u-7b-256", tmp_path / "back"):
        after, files = all_tensors(out)
        changed = {n.split(":")[1] for n in after if after[n] != before.get(n)}
        assert len(changed) == len(tower.state_dict())
        assert all("vision_model.e" in n and "layers.2." not in n for n in changed)
        assert json.loads(files["config.json"])["model_type"] == "vila_u_llama"
        again = load_tower(out)
        for name, x in tower.state_dict().items():
            assert torch.equal(again.state_dict()[name], x.bfloat16())
    assert (tmp_path / "tuned-vila-u-7b-256" / "llm").is_symlink()
    with pytest.raises(ValueError, match="exists"):
        export(tower, released, tmp_path / "back")
    tower.adopt_class_token(torch.zeros(WIDTH))
    with pytest.raises(ValueError, match="no place for the encoder's class_token"):
        export(tower, released, tmp_path / "again")
    other = write_released(tmp_path / "other" / "vila-u-7b-384", Released(levels=16))
    with pytest.raises(CodebookMismatchError):
        export(load_tower(other), released, tmp_path / "again")


def rewrite(released, change):
    path = released / "vision_tower" / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Released(), lambda w: w.update({"strange": torch.zeros(1)}), "'strange', which no VILA-U"),
        (
            Released(),
            lambda w: w.pop("rqvaesiglip.siglip_model.text_model.head.bias"),
            r"missing \['text_model.head.bias'\]",
        ),
        (
            Released(shared=False),
            lambda w: w.pop("rqvaesiglip.quantizer.codebooks.2.weight"),
            r"levels \[0, 1, 3\] of 4",
        ),
        (Released(config={"shared_codebook": False}), lambda w: None, r"levels \[0\] of 4"),
        (
            Released(shared=False, config={"shared_codebook": True}),
            lambda w: None,
            "shared_codebook=true, but its codebooks differ",
        ),
        (Released(config={"code_shape": [3, 3, 8]}), lambda w: None, r"depth is \[4, 8\]"),
        (
            Released(config={"pretrained_model": "a/hub-id"}),
            lambda w: None,
            "width 16, unlike both releases",
        ),
    ],
)
def test_what_does_not_fit_is_refused(kind, change, message, tmp_path):
    released = write_released(tmp_path / "vila-u-7b-256", kind)
    rewrite(released, change)
    with pytest.raises(ValueError, match=message):
        convert(released, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_other_mistakes(tmp_path):
    with pytest.raises(ValueError, match="not a VILA-U checkpoint"):
        convert(tmp_path, tmp_path / "models")
    with pytest.raises(ValueError, match="not converted from VILA-U"):
        restore(tmp_path, tmp_path / "models")
    released = write_released(tmp_path / "vila-u-7b-256", Released())
    config = json.loads((released / "siglip" / "config.json").read_text())
    config["vision_config"]["intermediate_size"] = 48
    with pytest.raises(ValueError, match="vision intermediate_size=48, the weights have 24"):
        load_tower(released, siglip_config=config)
    with pytest.raises(ValueError, match=r"no config.json there"):
        load_tower(released, siglip_config=tmp_path / "nowhere")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_released(tmp_path_factory.mktemp("made") / "vila-u-7b-256", Released())


@pytest.fixture
def plain(tmp_path, made):
    """A checkpoint that a test may change."""
    return shutil.copytree(made, tmp_path / "vila-u-7b-256")


def changed(path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        part = content
        *outer, last = key.split("__")
        for name in outer:
            part = part[name]
        part[last] = value
    path.write_text(json.dumps(content))


def wider_projector(root, change):
    weights = load_file(root / "mm_projector/model.safetensors")
    change(weights)
    save_file(weights, root / "mm_projector/model.safetensors")


def refused(root, tmp_path, message, **options):
    """Check that nothing is left behind and nothing large was ever written."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CraftError, match=message) as error:
        convert(root, tmp_path / "models", **options)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 40, r"embed_tokens|lm_head"),
        ("intermediate_size", 48, r"gate_proj.*of shape \(32, 24\).* asks for \(48, 24\)"),
        ("hidden_size", 32, r"of shape .*24.*, its config asks for .*32"),
        ("num_hidden_layers", 3, r"missing \['model\.layers\.2"),
    ],
)
def test_language_models_that_are_not_their_configs_are_refused(
    plain, tmp_path, key, value, message
):
    size = json.loads((plain / "llm/config.json").read_text())[key]
    changed(plain / "llm/config.json", **{key: value})
    if key == "vocab_size":
        message = rf"of shape \({size}, 24\), its config asks for \({value}, 24\)"
    refused(plain, tmp_path, message)


def test_projectors_of_another_width_are_refused(plain, tmp_path):
    wider_projector(plain, lambda w: w.update({"layers.0.weight": torch.zeros(24, 20)}))
    refused(plain, tmp_path, r"mm_projector takes 20 dimensions, the codebook's is 16")


def test_projectors_for_another_language_model_are_refused(plain, tmp_path):
    wide = {"layers.2.weight": torch.zeros(30, 24), "layers.2.bias": torch.zeros(30)}
    wider_projector(plain, lambda w: w.update(wide))
    refused(
        plain, tmp_path, r"mm_projector gives 30 dimensions, the language model's hidden_size is 24"
    )


def test_projectors_that_contradict_themselves_are_refused(plain, tmp_path):
    wider_projector(plain, lambda w: w.update({"layers.2.weight": torch.zeros(24, 30)}))
    refused(plain, tmp_path, r"mm_projector holds 2\.weight of shape \(24, 30\)")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vision_config__image_size", 48, "vision image_size=48, the weights have 24"),
        ("vision_config__num_hidden_layers", 4, "num_hidden_layers=4, the weights have 3"),
        ("text_config__vocab_size", 99, r"of shape \(64, 16\), its config asks for \(99, 16\)"),
        ("text_config__max_position_embeddings", 8, r"\(16, 16\), its config asks for \(8, 16\)"),
    ],
)
def test_siglip_configs_of_another_size_are_refused(plain, tmp_path, key, value, message):
    changed(plain / "siglip/config.json", **{key: value})
    refused(plain, tmp_path, message)
    if key.startswith("vision"):
        with pytest.raises(CraftError, match=message):
            load_tower(plain)


def test_a_siglip_tokenizer_that_is_sentencepiece_only_is_copied_and_loads(plain, tmp_path):
    folder = tmp_path / "tokenizer"
    sentencepiece_model(folder / "spiece.model", "unigram", 50, unk_id=0, bos_id=-1, eos_id=1)
    convert(plain, tmp_path / "models", siglip_tokenizer=folder)
    tokenizer = ModelFamily(tmp_path / "models").tokenizer
    processor = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    end = processor.eos_id()
    expected = [*processor.Encode("a thing specifically flag"), end]
    assert tokenizer("a thing specifically flag")["input_ids"] == expected


def test_siglip_tokenizers_of_other_models_are_refused(plain, tmp_path):
    folder = tmp_path / "tokenizer"
    sentencepiece_model(folder / "spiece.model", "char", 20, unk_id=0, bos_id=-1, eos_id=1)
    weights = load_file(plain / "vision_tower/model.safetensors")
    name = "rqvaesiglip.siglip_model.text_model.embeddings.token_embedding.weight"
    weights[name] = weights[name][:10].clone()
    save_file(weights, plain / "vision_tower/model.safetensors")
    changed(plain / "siglip/config.json", text_config__vocab_size=10)
    refused(
        plain, tmp_path, r"knows \d+ tokens, SigLIP has a vocab_size of 10", siglip_tokenizer=folder
    )


def test_empty_tokenizer_folders_are_refused(plain, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    refused(plain, tmp_path, "empty holds no tokenizer: expected one of", siglip_tokenizer=folder)
    refused(plain, tmp_path, "none holds no tokenizer", siglip_tokenizer=tmp_path / "none")
    for file in (plain / "llm").glob("token*"):
        file.unlink()
    refused(plain, tmp_path, "llm holds no tokenizer: expected one of")


def test_tokenizers_with_more_words_than_the_language_model_are_refused(plain, tmp_path):
    content = json.loads((plain / "llm/tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    known = len(vocabulary)
    vocabulary |= {f"word{i}": known + i for i in range(200)}
    (plain / "llm/tokenizer.json").write_text(json.dumps(content))
    refused(plain, tmp_path, r"knows \d+ tokens, the language model has a vocab_size of \d+")


@pytest.mark.parametrize("config", [None, {"tokenizer_class": "LlamaTokenizer", "legacy": False}])
def test_a_checkpoint_that_stores_tokenizer_model_alone_answers(plain, tmp_path, config):
    processor = only_sentencepiece(plain / "llm")
    if config is not None:
        (plain / "llm/tokenizer_config.json").write_text(json.dumps(config))
    convert(plain, tmp_path / "models")
    language_model = ModelFamily(tmp_path / "models").language_model("vila-u")
    assert language_model.tokenizer.pad_token == language_model.tokenizer.eos_token == "</s>"
    for text in ("what thing", "\nwhat thing ASSISTANT:", VICUNA.before_image, "é 猫"):
        found = language_model.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found == processor.Encode(text)
    assert language_model.prefix_ids[0] == processor.bos_id()
    batch = language_model.prompt_batch(["what thing", "a flag"])
    visual = torch.randn(2, 9, WIDTH, dtype=language_model.language_model.dtype)
    assert len(language_model.answer(visual, batch)) == 2
    restore(tmp_path / "models", tmp_path / "back")
    assert all_tensors(tmp_path / "back") == all_tensors(plain)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "file",
    [
        "vision_tower/model.safetensors",
        "mm_projector/model.safetensors",
        "llm/model-00001-of-*.safetensors",
        "vision_tower/config.json",
        "mm_projector/config.json",
        "llm/config.json",
        "llm/tokenizer.json",
    ],
)
def test_damaged_files_of_a_checkpoint_are_one_line(plain, tmp_path, file, damage):
    path = next(plain.glob(file))
    DAMAGE[damage][0](path)
    message = DAMAGE[damage][1] if damage != "missing" else path.parent.name
    refused(plain, tmp_path, re.escape(message))


def test_a_conversion_that_fails_half_way_leaves_nothing(plain, tmp_path, monkeypatch):
    written = []

    def full(path, *_):
        written.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(converting, "write_tensors", full)
    with pytest.raises(OSError, match="models"):
        convert(plain, tmp_path / "models")
    assert written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vila-u-7b-256"]


def test_room_is_asked_for_before_anything_is_written(plain, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"the converted checkpoint in .*models needs .* free there"):
        convert(plain, tmp_path / "models")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vila-u-7b-256"]


SECRET = "s3cr3t"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


def recorded(models, change):
    """Change the record of a conversion as somebody passing it on could: with a checksum."""
    path = models / "vila_u/conversion.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(with_checksum(content)))


def copy_to(theirs, ours="vila_u/config.json"):
    return lambda record: record["copied"].update({theirs: ours})


OUTSIDE = ["../{}", "llm/../../{}", "{tmp}/{}", "{tmp}/back-too/{}", "../back-too/{}"]


def untouched(tmp_path, before):
    return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("place", OUTSIDE)
@pytest.mark.parametrize("kind", ["written", "rebuilt", "read"])
def test_a_record_that_leads_elsewhere_is_refused(plain, tmp_path, secret, place, kind):
    convert(plain, tmp_path / "models")
    name = place.format("secret.txt", tmp=tmp_path)
    if kind == "written":
        recorded(tmp_path / "models", copy_to(name))
    elif kind == "read":
        recorded(tmp_path / "models", copy_to("notes.txt", name))
    else:
        recorded(
            tmp_path / "models",
            lambda r: r["rebuilt"].update({name: r["rebuilt"]["mm_projector/model.safetensors"]}),
        )
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(CraftError, match=r"names .* leads out of") as error:
        restore(tmp_path / "models", tmp_path / "back")
    assert SECRET not in str(error.value)
    assert not (tmp_path / "back").exists()
    assert untouched(tmp_path, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(name="../models"), "must be a plain name"),
        (lambda r: r.update(name=3), "name: Input should be a valid string"),
        (lambda r: r.update(copied={"a": 3}), "copied.a: Input should be a valid string"),
        (copy_to("a\0b"), "which is no path"),
        (lambda r: r["rebuilt"].update({"x": r["rebuilt"].popitem()[1]}), "models do not hold"),
        (lambda r: r.update(more=1), "more: Extra inputs"),
    ],
)
def test_records_of_another_shape_are_refused(plain, tmp_path, change, message):
    convert(plain, tmp_path / "models")
    recorded(tmp_path / "models", change)
    with pytest.raises(CraftError, match=message) as error:
        restore(tmp_path / "models", tmp_path / "back")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "back").exists()


def test_a_record_that_was_damaged_is_refused(plain, tmp_path):
    convert(plain, tmp_path / "models")
    path = tmp_path / "models/vila_u/conversion.json"
    path.write_text(path.read_text().replace("mm_projector/config", "mm_projector/confih"))
    with pytest.raises(CraftError, match="is damaged or was edited"):
        restore(tmp_path / "models", tmp_path / "back")


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "a/b", "a\\b", "", ".", "..", "~", ".git", "a\0", "C:x", "a\nb"]
)
def test_names_that_are_no_folder_are_refused(plain, tmp_path, name):
    refused(plain, tmp_path, "--name must be a plain name", name=name)


@pytest.mark.parametrize("name", ["siglip", "vila_u", "VILA_U", "manifest.json"])
def test_names_that_parts_have_are_refused(plain, tmp_path, name):
    refused(plain, tmp_path, "is taken by another part of the directory", name=name)


@pytest.mark.parametrize(
    "link",
    [
        "README.md",
        "llm/tokenizer_note.txt",
        "llm/generation_config.json",
        "vision_tower/notes.txt",
        "mm_projector/notes.txt",
    ],
)
def test_links_out_of_a_checkpoint_are_not_copied(plain, tmp_path, secret, link):
    (plain / link).unlink(missing_ok=True)
    (plain / link).symlink_to(secret)
    refused(plain, tmp_path, "names .* which leads out of")
    if not link.startswith("llm"):
        convert_free = load_tower(plain)
        with pytest.raises(CraftError, match="leads out of"):
            export(convert_free, plain, tmp_path / "exported", copy=True)
        assert not (tmp_path / "exported").exists()


def test_links_out_of_converted_models_are_not_copied_back(plain, tmp_path, secret):
    convert(plain, tmp_path / "models")
    place = tmp_path / "models/vila_u/config.json"
    place.unlink()
    place.symlink_to(secret)
    with pytest.raises(CraftError, match="leads out of") as error:
        restore(tmp_path / "models", tmp_path / "back")
    assert SECRET not in str(error.value)
    assert not (tmp_path / "back").exists()


def test_weights_may_be_links_but_must_be_weights(plain, tmp_path, secret):
    shard = next(plain.glob("llm/*.safetensors"))
    shard.rename(tmp_path / "elsewhere.safetensors")
    shard.symlink_to(tmp_path / "elsewhere.safetensors")
    convert(plain, tmp_path / "models")
    copied = tmp_path / "models/vila-u" / shard.name
    assert not copied.is_symlink()
    copied.unlink()
    copied.symlink_to(secret)
    with pytest.raises(CraftError, match="not a whole safetensors file") as error:
        restore(tmp_path / "models", tmp_path / "back")
    assert SECRET not in str(error.value)


def test_a_checkpoint_in_the_cache_of_the_hub_is_converted(plain, tmp_path):
    """There every file is a link to a blob beside the snapshot."""
    repository = tmp_path / "models--mit-han-lab--vila-u-7b-256"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    for number, path in enumerate(p for p in sorted(plain.rglob("*")) if p.is_file()):
        blob = repository / "blobs" / str(number)
        path.rename(blob)
        link = snapshot / path.relative_to(plain)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    convert(snapshot, tmp_path / "models")
    restore(tmp_path / "models", tmp_path / "back")
    assert all_tensors(tmp_path / "back") == all_tensors(snapshot)


def test_a_siglip_config_elsewhere_is_not_the_checkpoints_to_name(plain, tmp_path):
    (plain / "siglip").rename(tmp_path / "siglip")
    for named in ("../siglip", str(tmp_path / "siglip")):
        changed(plain / "vision_tower/config.json", rqvaesiglip__pretrained_model=named)
        with pytest.raises(CraftError, match="pass siglip_config"):
            convert(plain, tmp_path / "models")
    convert(plain, tmp_path / "models", siglip_config=tmp_path / "siglip")
