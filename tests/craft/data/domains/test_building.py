"""Domains from records: hold-out by id and name, questions, captions, and the manifest."""

import json
import random
from collections import Counter

import pytest
import torch

from craft.data.domains.building import build_domain, make_manifest, require_held_out
from craft.data.domains.manifest import DomainManifest
from craft.data.domains.user_data import reopen
from craft.data.images.record_store import squash
from craft.data.readers import DataError, ReadOptions, read_records
from craft.errors import CraftError


@pytest.fixture
def built(class_folder):
    records = read_records(class_folder)
    manifest = make_manifest(records, subject="thing")
    return records, manifest, build_domain(records, manifest, 24)


def test_a_fifth_of_the_classes_is_held_out_by_id_and_by_name(built):
    records, manifest, domain = built
    assert len(domain.heldout) == 1  # floor of a fifth of eight
    (entry,) = [entry for entry in manifest.classes if entry.heldout]
    assert entry.id == entry.name.replace(" ", "_")
    by_id = {record.id: record for record in records}
    for part in (domain.train, domain.val):
        assert entry.name not in part.labels
        assert all(by_id[key].label != entry.id for key in part.ids)
    assert set(domain.test.labels) == set(domain.classes)
    assert len(manifest.parts.unused) == 8
    rng = random.Random(0)
    for index in range(len(domain)):
        lesson = domain.lesson(index, rng, 0.5)
        assert entry.name not in lesson.prompt + lesson.answer
        assert entry.name not in domain.texts[lesson.text]


def test_a_manifest_that_leaks_is_refused(built):
    records, manifest, _ = built
    by_id = {record.id: record for record in records}
    parts = manifest.parts
    leaky = parts.model_copy(update={"train": (*parts.train, parts.unused[0])})
    with pytest.raises(ValueError, match=r"of the held-out class 'thing .*' is in training"):
        require_held_out(manifest.model_copy(update={"parts": leaky}), by_id)
    out = next(entry for entry in manifest.classes if entry.heldout)
    alias = [
        entry.model_copy(update={"name": out.name.upper()}) if not entry.heldout else entry
        for entry in manifest.classes
    ]
    with pytest.raises(ValueError, match=r"is in training"):
        require_held_out(manifest.model_copy(update={"classes": tuple(alias)}), by_id)


def test_images_are_what_the_records_decode_to(built):
    records, _, domain = built
    by_id = {record.id: record for record in records}
    assert domain.train.images.pixels(range(3)).shape == (3, 3, 24, 24)
    assert len(domain.train.images) == 56 - 6
    row = 5
    image = squash(by_id[domain.train.ids[row]].rgb(), 24)
    expected = torch.tensor(list(image.tobytes()), dtype=torch.uint8)
    assert torch.equal(domain.train.images.pixels([row])[0].permute(1, 2, 0).flatten(), expected)


def test_a_manifest_comes_back_and_gives_the_same_questions(built, tmp_path):
    records, manifest, domain = built
    manifest.save(tmp_path / "domain.json")
    again = DomainManifest.load(tmp_path / "domain.json")
    assert again == manifest
    other = build_domain(records, again, 24)
    assert other.questions(other.test) == domain.questions(domain.test)
    assert Counter(q.heldout for q in domain.questions(domain.test)) == {False: 14, True: 2}


def test_invalid_manifests_are_refused(built, tmp_path):
    _, manifest, _ = built
    path = tmp_path / "domain.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"domain.json is not a domain manifest: name: Field"):
        DomainManifest.load(path)
    path.write_text(json.dumps(json.loads(manifest.model_dump_json()) | {"format": 3}))
    with pytest.raises(ValueError, match=r"format: Input should be 1 or 2"):
        DomainManifest.load(path)


def test_an_image_in_two_parts_is_refused(built, tmp_path):
    """Test ids that equal training ids would measure what was learnt by heart."""
    _, manifest, _ = built
    content = json.loads(manifest.model_dump_json())
    content["parts"]["test"] = content["parts"]["train"]
    path = tmp_path / "domain.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CraftError, match=r"domain.json.*record .* is in train and in test"):
        DomainManifest.load(path)


def test_a_manifest_keeps_the_account_and_older_ones_have_none(built, tmp_path):
    _, manifest, _ = built
    assert manifest.account is not None
    assert manifest.account.records == 80
    older = json.loads(manifest.model_dump_json()) | {"format": 1}
    del older["account"]
    path = tmp_path / "domain.json"
    path.write_text(json.dumps(older))
    again = DomainManifest.load(path)
    assert again.account is None
    assert again.parts == manifest.parts


def test_other_data_than_the_manifests_is_refused(built, class_folder, draw):
    _, manifest, _ = built
    draw(class_folder / "thing_aa/0.png", 77)
    with pytest.raises(DataError, match=r"the data is not what the manifest was made for"):
        build_domain(read_records(class_folder), manifest, 24)


def test_classes_with_the_same_name_are_refused(class_folder, draw):
    for i in range(4):
        draw(class_folder / f"Thing-AA/{i}.png", 100 + i)
    with pytest.raises(ValueError, match=r"'Thing-AA' and 'thing aa' differ only in spelling"):
        make_manifest(read_records(class_folder))


def test_too_few_classes_are_refused(tmp_path, draw):
    for c in range(3):
        for i in range(4):
            draw(tmp_path / f"class {c}/{i}.png", 4 * c + i)
    with pytest.raises(DataError, match=r"need four classes to train on, there are 3"):
        make_manifest(read_records(tmp_path))


def test_a_class_with_one_image_is_refused(class_folder, draw):
    lonely = draw(class_folder / "lonely/0.png", 200)
    with pytest.raises(DataError, match=f"{lonely}: class 'lonely' has a single image"):
        make_manifest(read_records(class_folder))


def test_captions_are_contrastive_texts_besides_the_class(tmp_path, draw):
    lines = ["image,label,caption"]
    for c in range(4):
        for i in range(5):
            draw(tmp_path / f"{c}-{i}.png", 5 * c + i)
            lines.append(f"{c}-{i}.png,class {c},a caption of {c}-{i}")
    (tmp_path / "d.csv").write_text("\n".join(lines))
    records = read_records(tmp_path)
    domain = build_domain(records, make_manifest(records, subject="toy"), 16)
    assert domain.texts[:2] == [
        "An image of a toy, specifically a class 0.",
        "An image of a toy, specifically a class 1.",
    ]
    rng = random.Random(0)
    said = {domain.texts[domain.lesson(0, rng, 0.5).text] for _ in range(40)}
    label, key = domain.train.labels[0], domain.train.ids[0]
    caption = next(r.captions[0] for r in records if r.id == key)
    truth = f"An image of a toy, specifically a {label}."
    assert said == {truth, f"{caption} {truth}"}


def test_data_with_questions(tmp_path, draw):
    entries = [
        {
            "id": f"q{i}",
            "image": draw(tmp_path / f"{i // 2}.png", i // 2).name,
            "conversations": [
                {"from": "human", "value": f"<image>\nWhich of {i}?"},
                {"from": "gpt", "value": "Yes" if i % 2 else "yes"},
            ],
        }
        for i in range(20)
    ]
    (tmp_path / "d.json").write_text(json.dumps(entries))
    records = read_records(tmp_path / "d.json")
    manifest = make_manifest(records, reading=ReadOptions())
    domain = build_domain(records, manifest, 16)
    assert (manifest.kind, domain.heldout) == ("questions", [])
    # Two questions about the same image file are never in different parts.
    images = {r.id: str(r.image) for r in records}
    parts = [{images[key] for key in p.ids} for p in (domain.train, domain.val, domain.test)]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    rng = random.Random(0)
    lesson = domain.lesson(3, rng, 0.5)
    assert lesson.prompt == f"Which of {domain.train.ids[3][1:]}?"
    assert domain.texts[lesson.text] == f"Question: {lesson.prompt} Answer: {lesson.answer}."
    asked = domain.questions(domain.test)
    assert [(q.id, q.answer.lower()) for q in asked] == [(key, "yes") for key in domain.test.ids]


def test_statements_that_differ_only_in_case_are_not_negatives(tmp_path, draw):
    rows = [
        {"image": draw(tmp_path / f"{i}.png", i).name, "question": "Red?", "answer": answer}
        for i, answer in enumerate(["Yes", "yes", "no", "No", "yes", "no"] * 3)
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    records = read_records(tmp_path / "d.json")
    domain = build_domain(records, make_manifest(records), 16)
    lessons = [domain.lesson(i, random.Random(0), 0.5) for i in range(len(domain))]
    for a in lessons:
        for b in lessons:
            same = a.row == b.row or a.answer.lower() == b.answer.lower()
            shared = any(x == y for x, y in zip(a.keys, b.keys, strict=True))
            assert shared == same


def test_all_missing_images_are_named_at_once(class_folder):
    gone = [class_folder / "thing_aa/gone.png", class_folder / "thing_bb/lost.png"]
    for link in gone:
        link.symlink_to(class_folder / "nowhere")
    with pytest.raises(DataError, match="1 more faults") as error:
        make_manifest(read_records(class_folder))
    assert all(f"{link}: " in str(error.value) for link in gone)


def test_content_of_a_manifests_source_is_not_shown(tmp_path, class_folder):
    """A manifest may come from someone else and name any file."""
    records = read_records(class_folder)
    secret = tmp_path / "secret.csv"
    secret.write_text("image,label\ns3cr3t\n\ns3cr3t,s3cr3t,s3cr3t\n")
    manifest = make_manifest(records).model_copy(update={"source": str(secret)})
    with pytest.raises(
        CraftError, match=r"secret\.csv.*: not the data that .* --data PATH"
    ) as error:
        reopen(manifest, 16)
    assert "s3cr3t" not in str(error.value)
    with pytest.raises(DataError, match="s3cr3t"):  # the user named it
        reopen(manifest, 16, secret)
