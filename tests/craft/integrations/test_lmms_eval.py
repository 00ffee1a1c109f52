"""The lmms-eval model: registered by entry point, same answers as the models themselves.

lmms-eval is not installed here; its base class, which only keeps a few attributes, is stood in for.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from craft.data.images.pixels import squash
from craft.models.encoder_pack import EncoderPack
from craft.prior import TokenPrior
from craft.settings.heba import PRESETS
from tests.craft.conftest import picture

ROOT = Path(__file__).parents[3]


class Base:
    is_simple = True

    def __init__(self):
        self.task_dict = {}


@pytest.fixture
def lmms_eval(monkeypatch):
    for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model", "lmms_eval.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    registry = ModuleType("lmms_eval.models.registry_v2")
    registry.ModelManifest = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lmms_eval.models.registry_v2", registry)
    sys.modules["lmms_eval.api.model"].lmms = Base  # type: ignore[attr-defined]
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
    reader = tiny_models.language_model("llama")
    visual = tiny_models.pretrained_tower()(pixels(model.model.tower, documents)).quantized
    text = reader.prompt_batch([d["question"] for d in documents])
    expected = reader.answer(visual, text, 4)
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
    model.reader.answer = lambda visual, *a, **k: seen.append(visual.shape) or [""] * len(visual)
    try:
        model.generate_until(requests(model, documents[:1], {}))
    finally:
        del model.reader.answer
    assert seen == [(1, 5, 16)]  # of nine
    with pytest.raises(ValueError, match="needs a pack with a prior"):
        lmms_eval.CraftModel(**where, keep_ratio=0.5)


def test_likelihood_is_the_models_own(lmms_eval, tiny_models, tiny_models_dir, documents):
    model = lmms_eval.CraftModel(str(tiny_models_dir), "qwen2", device="cpu")
    reader = tiny_models.language_model("qwen2")
    found = model.loglikelihood(requests(model, documents, {}, "thing aa"))
    visual = tiny_models.pretrained_tower()(pixels(model.model.tower, documents)).quantized
    for i, (score, _) in enumerate(found):
        text = reader.training_batch([documents[i]["question"]], ["thing aa"])
        logits, targets = reader.answer_logits(visual[i : i + 1], text)
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
    model.reader.answer = lambda visual, *a, **k: seen.append(visual) or [""] * len(visual)
    try:
        model.generate_until(requests(model, documents[:1], {}))
    finally:
        del model.reader.answer
    plain, _ = tower.features(pixels(tower, documents[:1]))
    torch.testing.assert_close(seen[0], plain)
