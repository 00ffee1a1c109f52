"""The lmms-eval model: registered by entry point, with the same answers as the models.

lmms-eval is not installed here; a stand-in replaces its base class, which only keeps a few
attributes.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from craft.data.images.record_store import squash
from craft.errors import CraftError
from craft.models.encoder_pack import EncoderPack
from craft.prior import TokenPrior
from craft.settings.heba import PRESETS
from tests.craft.conftest import picture
from tests.craft.integrations import lmms_eval_run
from tests.craft.training.two_processes import in_two_processes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def lmms_eval(monkeypatch):
    for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model", "lmms_eval.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    registry = ModuleType("lmms_eval.models.registry_v2")
    registry.ModelManifest = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lmms_eval.models.registry_v2", registry)
    sys.modules["lmms_eval.api.model"].lmms = lmms_eval_run.Base  # type: ignore[attr-defined]
    name = "craft.integrations.lmms_eval.model"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module(name)
    sys.modules.pop(name, None)


@pytest.fixture
def documents():
    return [{"image": picture(i), "question": f"what thing {'aa' * (i % 2)}"} for i in range(3)]


def requests(model, documents, settings, answer=None):
    model.task_dict = {"task": {"test": documents}}
    second = settings if answer is None else answer
    return [
        SimpleNamespace(
            args=(f"<image>{d['question']}", second, lambda d: [d["image"]], i, "task", "test")
        )
        for i, d in enumerate(documents)
    ]


def pixels(tower, documents):
    shown = [squash(d["image"], tower.image_size) for d in documents]
    raw = [torch.tensor(list(image.tobytes())).view(*image.size, 3) for image in shown]
    return torch.stack(raw).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_entry_point_leads_to_the_class(lmms_eval):
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["entry-points"]["lmms_eval.models"]["craft"].split(":")
    found = getattr(import_module(module), function)()
    assert found.model_id == "craft"
    module, kind = found.simple_class_path.rsplit(".", 1)
    assert getattr(import_module(module), kind) is lmms_eval.CraftModel


@pytest.mark.parametrize("batch_size", [1, 2])
def test_answers_are_the_models_own(lmms_eval, tiny_models, tiny_models_dir, documents, batch_size):
    model = lmms_eval.CraftModel(str(tiny_models_dir), "llama", batch_size=batch_size, device="cpu")
    found = model.generate_until(requests(model, documents, {"max_new_tokens": 4}))
    language_model = tiny_models.language_model("llama")
    visual = tiny_models.pretrained_tower()(pixels(model.model.tower, documents)).quantized
    text = language_model.prompt_batch([d["question"] for d in documents])
    expected = language_model.answer(visual, text, 4)
    assert found == [answer.strip() for answer in expected]
    assert len(set(found)) > 1
    word = found[0].split()[-1]
    cut = model.generate_until(
        requests(model, documents[:1], {"max_new_tokens": 4, "until": [word]})
    )
    assert word not in cut[0]


def test_packs_prune_with_their_prior(lmms_eval, tiny_models, tiny_models_dir, documents, tmp_path):
    counts = torch.arange(tiny_models.codebook.size) + 1
    tower = tiny_models.pretrained_tower()
    fingerprint = tiny_models.codebook.fingerprint
    prior = TokenPrior(counts, codebook_fingerprint=fingerprint, encoder_hash="x")
    EncoderPack.of(tower, prior).save(tmp_path / "pack")
    where = {"pretrained": str(tiny_models_dir), "device": "cpu"}
    model = lmms_eval.CraftModel(**where, pack=str(tmp_path / "pack"), keep_ratio=0.5)
    seen = []
    model.language_model.answer = lambda visual, *a, **k: (
        seen.append(visual.shape) or [""] * len(visual)
    )
    try:
        model.generate_until(requests(model, documents[:1], {}))
    finally:
        del model.language_model.answer
    assert seen == [(1, 5, 16)]  # of nine
    with pytest.raises(ValueError, match="needs a pack with a prior"):
        lmms_eval.CraftModel(**where, keep_ratio=0.5)


def test_likelihood_is_the_models_own(lmms_eval, tiny_models, tiny_models_dir, documents):
    model = lmms_eval.CraftModel(str(tiny_models_dir), "qwen2", device="cpu")
    language_model = tiny_models.language_model("qwen2")
    found = model.loglikelihood(requests(model, documents, {}, "thing aa"))
    visual = tiny_models.pretrained_tower()(pixels(model.model.tower, documents)).quantized
    for i, (score, _) in enumerate(found):
        text = language_model.training_batch([documents[i]["question"]], ["thing aa"])
        logits, targets = language_model.answer_logits(visual[i : i + 1], text)
        rows = logits.log_softmax(-1)[torch.arange(len(targets)), targets][:-1]
        assert score == pytest.approx(float(rows.sum()), abs=1e-4)
    assert len({round(score, 4) for score, _ in found}) == 3


def test_documents_have_one_image(lmms_eval, tiny_models_dir, documents):
    model = lmms_eval.CraftModel(str(tiny_models_dir), device="cpu")
    asked = requests(model, documents[:1], {})
    asked[0].args = (*asked[0].args[:2], lambda d: [d["image"]] * 2, *asked[0].args[3:])
    with pytest.raises(ValueError, match="task 0 has 2 visuals, expected one image"):
        model.generate_until(asked)


def test_adapter_packs_find_their_base_encoder(
    lmms_eval, tiny_models, tiny_models_dir, documents, tmp_path
):
    tower = tiny_models.pretrained_tower()
    tower.adopt_adapters(PRESETS["heba"])
    adapted = EncoderPack.of(tower, base=tiny_models.pretrained_tower())
    adapted.save(tmp_path / "pack")
    where = {"pretrained": str(tiny_models_dir), "device": "cpu"}
    model = lmms_eval.CraftModel(**where, pack=str(tmp_path / "pack"))
    for name, tensor in adapted.weights.items():
        assert torch.equal(model.model.tower.state_dict()[name], tensor)


def test_packs_of_plain_features_are_read_as_such(
    lmms_eval, tiny_models, tiny_models_dir, documents, tmp_path
):
    tower = tiny_models.pretrained_tower()
    EncoderPack.of(tower, config={"method": "vision_ft"}).save(tmp_path / "pack")
    where = {"pretrained": str(tiny_models_dir), "device": "cpu"}
    model = lmms_eval.CraftModel(**where, pack=str(tmp_path / "pack"))
    seen = []
    model.language_model.answer = lambda visual, *a, **k: seen.append(visual) or [""] * len(visual)
    try:
        model.generate_until(requests(model, documents[:1], {}))
    finally:
        del model.language_model.answer
    plain, _ = tower.features(pixels(tower, documents[:1]))
    torch.testing.assert_close(seen[0], plain)


def test_two_processes_answer_a_share_each(lmms_eval, tiny_models_dir, tmp_path):
    """Of five documents, one process answers three and the other two, on the launcher's device."""
    model = lmms_eval.CraftModel(str(tiny_models_dir), "llama", batch_size="2", device="cpu")
    alone = lmms_eval_run.shared_answers(model, 5)
    module = "tests.craft.integrations.lmms_eval_run"
    in_two_processes(module, tiny_models_dir, tmp_path, 5, ACCELERATE_USE_CPU="true")
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [part["total"] for part in parts] == [[3, 2], [3, 2]]
    assert [sorted(part["answers"]) for part in parts] == [["0", "2", "4"], ["1", "3"]]
    assert parts[0]["answers"] | parts[1]["answers"] == alone["answers"]


def test_processes_that_do_not_know_of_each_other_are_refused(
    lmms_eval, tiny_models_dir, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CraftError, match=r"2 processes were started, but accelerate .* for 1"):
        lmms_eval.CraftModel(str(tiny_models_dir), device="cpu")


def test_another_device_than_the_launchers_is_refused(lmms_eval, tiny_models_dir, monkeypatch):
    state = SimpleNamespace(num_processes=2)
    accelerator = SimpleNamespace(process_index=1, num_processes=2, device=torch.device("cuda:1"))
    monkeypatch.setattr(lmms_eval, "PartialState", lambda **_: state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(lmms_eval, "Accelerator", lambda **_: accelerator)
    for device in ("cuda:0", "cpu"):
        with pytest.raises(CraftError, match="process 1 of 2 has cuda:1 from the launcher"):
            lmms_eval.CraftModel(str(tiny_models_dir), device=device)


@pytest.mark.parametrize("size", ["auto", "auto:4", 0, "0", -1, "1.5", "", "many"])
def test_batch_sizes_that_are_no_number_are_refused(lmms_eval, tiny_models_dir, size):
    where = {"pretrained": str(tiny_models_dir), "device": "cpu"}
    with pytest.raises(CraftError, match=r"batch_size must be a number .* such as 16"):
        lmms_eval.CraftModel(**where, batch_size=size)
    with pytest.raises(CraftError, match=r"max_batch_size must be a number .* such as 16"):
        lmms_eval.CraftModel(**where, max_batch_size=size)


def test_batch_sizes_are_understood(lmms_eval, tiny_models_dir):
    where = {"pretrained": str(tiny_models_dir), "device": "cpu"}
    assert lmms_eval.CraftModel(**where, batch_size="8").batch == 8
    assert lmms_eval.CraftModel(**where, batch_size=8, max_batch_size=4).batch == 4
    assert lmms_eval.CraftModel(**where, batch_size=8, max_batch_size="64").batch == 8
