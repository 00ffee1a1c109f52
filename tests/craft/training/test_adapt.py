"""The adaptation loop on a tiny world: what trains, what is written, what is refused."""

import json

import pytest
import torch
import yaml

from craft.codebook import Codebook, CodebookMismatchError, CodebookSubset
from craft.errors import CraftError
from craft.pocket.domains import load_domain
from craft.pocket.retention import general_probe
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.training import CodebookConfig, CraftConfig
from craft.training.adapt import adapt
from craft.training.batches import DomainBatches
from craft.training.selection import SHARES
from tests.perturbed_products import rounding

SHORT = CraftConfig(steps=4, batch=6, validate_every=2, validation_images=10)

pytestmark = pytest.mark.usefixtures("small_world")


def run(models, out, config=SHORT, **arguments):
    return adapt(
        models.pretrained_tower(),
        models.language_model("qwen2"),
        models.siglip,
        load_domain("handwriting"),
        config,
        out,
        **arguments,
    )


def test_the_encoder_moves_and_nothing_else(tiny_models, tmp_path):
    language_model = tiny_models.language_model("qwen2")
    before = tensor_hash(language_model.state_dict()), tensor_hash(tiny_models.siglip.state_dict())
    base = tiny_models.pretrained_tower()
    config = SHORT.model_copy(update={"blend": False})
    result = run(tiny_models, tmp_path, config)
    assert (
        tensor_hash(language_model.state_dict()),
        tensor_hash(tiny_models.siglip.state_dict()),
    ) == before
    assert set(result.frozen_hashes) == {"language_model", "projector", "text_tower", "codebook"}
    still = [
        name
        for name, x in result.tower.state_dict().items()
        if torch.equal(x, base.state_dict()[name]) and not name.endswith("k_proj.bias")
    ]
    assert not still  # a key bias cancels in the softmax and has no gradient
    assert not any(p.requires_grad for p in result.tower.parameters())


def test_settings_and_losses_are_written(tiny_models, tmp_path):
    seen = []
    result = run(tiny_models, tmp_path, on_step=lambda *a: seen.append(a))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == SHORT.model_dump()
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "sal" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert all({"sal", "commit", "con", "qerr", "lr"} <= line.keys() for line in steps)
    assert [line["step"] for line in lines if "validation" in line] == [0, 2, 4]
    assert [entry["step"] for entry in result.history] == [0, 2, 4] + [4] * len(SHARES)
    assert set(result.gradient_norms) == {"sal", "commit", "con"}
    assert [(step, total) for step, total, _ in seen] == [(i, 4) for i in range(1, 5)]


def test_the_answers_before_and_after_match_the_history(tiny_models, tmp_path):
    begun, phases = [], []
    result = run(
        tiny_models,
        tmp_path,
        on_begin=lambda *counts: begun.append(counts),
        on_phase=lambda *phase: phases.append(phase),
    )
    answers = result.answers
    assert len(answers.before) == len(answers.after) == len(answers.images)
    share = result.blend
    taken = [e for e in result.history if e["blend"] == share] if share else result.history[:1]
    for right, entry in ((answers.before, result.history[0]), (answers.after, taken[-1])):
        assert 100 * sum(right) / len(right) == pytest.approx(entry["domain"])
    assert begun == [(0, 4)]
    # Every phase is announced before its work and ends.
    names = {name for name, *_ in phases}
    assert len(names) == 3
    for name in names:
        counts = [(done, total) for phase, done, total in phases if phase == name]
        assert counts[0][0] == 0
        assert counts[-1][0] == counts[-1][1]
    pace = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    (last,) = [line["pace"] for line in pace if line["step"] == 4]
    assert last["images_per_second"] > 0
    assert last["seconds_left"] == 0


def test_the_same_seed_gives_the_same_encoder(tiny_models, tmp_path):
    adapted = SHORT.model_copy(update={"blend": False})
    first, second = (run(tiny_models, tmp_path / x, adapted) for x in "ab")
    other = run(tiny_models, tmp_path / "c", adapted.model_copy(update={"seed": 5}))
    hashes = [tensor_hash(r.tower.state_dict()) for r in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_chosen_mixture_is_returned(tiny_models, tmp_path):
    general = general_probe(6, 24, 3)
    last = run(tiny_models, tmp_path / "a", SHORT.model_copy(update={"blend": False}))
    mixed = run(tiny_models, tmp_path / "b", general=general)
    base, adapted = tiny_models.pretrained_tower().state_dict(), last.tower.state_dict()
    for name, x in mixed.tower.state_dict().items():
        if x.is_floating_point():
            torch.testing.assert_close(x, torch.lerp(base[name], adapted[name], mixed.blend))


def test_no_heldout_name_or_image_is_in_training(tiny_models):
    domain = load_domain("handwriting")
    assert len(domain.heldout) == 2
    batches = DomainBatches(domain, 24, SHORT)
    tokenizer = tiny_models.tokenizer
    for _ in range(20):
        lessons = batches.lessons()
        assert not {domain.train.labels[x.row] for x in lessons} & set(domain.heldout)
        batch = batches.text(lessons, tiny_models.language_model("qwen2"))
        for text in tokenizer.batch_decode(batch.input_ids):
            assert not [name for name in domain.heldout if name in text]
    assert not set(domain.val.labels) & set(domain.heldout)
    assert set(domain.test.labels) == set(domain.classes)


def test_a_surrogate_of_another_codebook_is_refused(tiny_models, tmp_path):
    tower = tiny_models.pretrained_tower()
    tower.codebook = Codebook(tiny_models.codebook.table + 1, 2)
    with pytest.raises(CodebookMismatchError):
        adapt(
            tower,
            tiny_models.language_model("qwen2"),
            tiny_models.siglip,
            load_domain("handwriting"),
            SHORT,
            tmp_path,
        )


def test_a_loss_that_is_not_finite_stops_with_its_terms(tiny_models, tmp_path):
    config = SHORT.model_copy(update={"lambda_con": float("inf")})
    with pytest.raises(CraftError, match=r"not finite at step 1.*sal.*lower lr"):
        run(tiny_models, tmp_path, config)


def test_the_encoder_uses_only_the_chosen_part_of_the_codebook(tiny_models, tmp_path):
    all_in = SHORT.model_copy(update={"blend": False})
    config = all_in.model_copy(update={"codebook": CodebookConfig(fraction=0.25, seed=3)})
    result = run(tiny_models, tmp_path, config)
    used = tiny_models.codebook.restrict(CodebookSubset(0.25, seed=3)).used
    assert torch.isin(result.tower.encode(torch.rand(3, 3, 24, 24)).codes, used).all()
    whole = run(tiny_models, tmp_path / "whole", all_in)
    assert tensor_hash(result.tower.state_dict()) != tensor_hash(whole.tower.state_dict())


def test_a_weight_of_zero_removes_the_answer_loss(tiny_models, tmp_path):
    halved = run(tiny_models, tmp_path / "a", SHORT.model_copy(update={"lambda_sal": 0.5}))
    without = run(tiny_models, tmp_path / "b", SHORT.model_copy(update={"lambda_sal": 0.0}))
    whole = run(tiny_models, tmp_path / "c")
    norms = [result.gradient_norms for result in (whole, halved, without)]

    def again() -> torch.Tensor:
        found = run(tiny_models, tmp_path / "d").gradient_norms
        return torch.tensor([found["sal"], found["commit"]])

    allowed = rounding(again)
    assert allowed < norms[0]["sal"] / 100
    assert norms[1]["sal"] == pytest.approx(norms[0]["sal"] / 2, abs=allowed)
    assert norms[2]["sal"] == 0
    assert norms[2]["commit"] == pytest.approx(norms[0]["commit"], abs=allowed)
