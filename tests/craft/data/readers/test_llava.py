"""LLaVA files: what is read, and file and line of everything that is wrong."""

import json

import pytest

from craft.data.readers import DataError, ReadOptions, read_records


def entry(number=1, **changes):
    return {
        "id": f"x{number}",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is this?"},
            {"from": "gpt", "value": "A disc."},
        ],
    } | changes


def said(*turns):
    return [{"from": speaker, "value": text} for speaker, text in turns]


@pytest.fixture
def write(tmp_path, draw):
    """Writes entries, one per line, as an indented list or as JSON Lines."""
    draw(tmp_path / "a.png")

    def to(name, entries):
        path = tmp_path / name
        lines = [json.dumps(e) for e in entries]
        as_list = "[\n" + ",\n".join(lines) + "\n]"
        path.write_text("\n".join(lines) if name.endswith("l") else as_list)
        return path

    return to


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_questions_are_asked_verbatim(write, name):
    turns = said(
        ("human", "<image>\nWhat is this?"),
        ("gpt", "A disc."),
        ("human", "Its colour?"),
        ("gpt", "red"),
    )
    records = read_records(write(name, [entry(1), entry(2, conversations=turns)]))
    assert (records.format, len(records), records.labelled) == ("llava", 2, False)
    first, second = records
    assert [(t.prompt, t.target) for t in first.turns] == [("What is this?", "A disc.")]
    assert [(t.prompt, t.target) for t in second.turns][1] == ("Its colour?", "red")
    assert first.rgb().size == (30, 20)
    assert str(second.place).endswith(f"{name}:{3 if name == 'data.json' else 2}")
    assert any("1 conversations have several questions" in note for note in records.notes)


def test_the_image_token_may_follow_the_question(write):
    turns = said(("human", "What is this?\n<image>"), ("gpt", "A disc."))
    (record,) = read_records(write("d.json", [entry(conversations=turns)]))
    assert record.turns[0].question == "What is this?"


@pytest.mark.parametrize("name", ["d.json", "d.jsonl"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file_name", "a.png"),
        ("image_path", "a.png"),
        ("images", ["a.png"]),
        ("images", [{"path": "a.png"}]),
        ("image", {"path": "a.png"}),
        ("image", {"bytes": None, "path": "a.png"}),
    ],
)
def test_the_image_may_have_several_names(write, tmp_path, name, key, value):
    row = entry(**{key: value})
    if key != "image":
        del row["image"]
    (record,) = read_records(write(name, [row]))
    assert record.image.read() == (tmp_path / "a.png").read_bytes()


def test_another_name_of_the_image_is_refused_with_what_is_there(write):
    row = entry(picture="a.png")
    del row["image"]
    with pytest.raises(DataError, match=r"image_path, file_name,.* are \[.*'picture'"):
        read_records(write("d.json", [row]))
    with pytest.raises(DataError, match=r'"path" or "bytes", it has \[\'url\'\]'):
        read_records(write("d.json", [entry(image={"url": "a.png"})]))


@pytest.mark.parametrize("name", ["d.json", "d.jsonl"])
def test_an_image_that_no_turn_shows_is_an_error_for_every_row(write, name):
    """Two of four rows lack the token: they are neither dropped nor read as rows without image."""
    talk = said(("human", "A?"), ("gpt", "B"))
    rows = [entry(i, images=["a.png"]) for i in range(4)]
    for row in rows:
        del row["image"]
    rows[1]["conversations"] = rows[3]["conversations"] = talk
    path = write(name, rows)
    with pytest.raises(DataError, match="must contain <image> exactly once") as error:
        read_records(path)
    lines = (3, 5) if name == "d.json" else (2, 4)
    assert all(f"{path}:{line}: " in str(error.value) for line in lines)


def test_conversations_without_an_image_are_skipped_and_reported(write, tmp_path):
    text = {"id": "t", "conversations": said(("human", "Hello"), ("gpt", "Hi"))}
    records = read_records(write("d.json", [text, entry()]))
    assert [r.id for r in records] == ["x1"]
    assert records.account.skipped("rows without an image") == (f"{tmp_path / 'd.json'}:2",)


def test_images_are_beside_the_file_in_images_or_where_the_user_says(write, tmp_path, draw):
    path = write("d.json", [entry(image="deep/b.png")])
    with pytest.raises(DataError, match=r"d\.json:2: no image 'deep/b\.png' in .*--images"):
        read_records(path)
    draw(tmp_path / "images/deep/b.png")
    assert len(read_records(path)) == 1
    draw(tmp_path / "elsewhere/deep/b.png", 5)
    records = read_records(path, ReadOptions(images=tmp_path / "elsewhere"))
    assert "elsewhere" in str(records.records[0].image)


WRONG = [
    ({"image": "gone.png"}, "no such image file: .*gone.png"),
    ({"image": ["a.png", "a.png"]}, "2 images; a record must have exactly one"),
    ({"image": 3}, "image must be a path, got 3"),
    ({"id": "x1"}, "id 'x1' was used before, at .*d.json:2"),
    (
        {"conversations": said(("gpt", "A."), ("human", "<image>\nB?"))},
        "turn 1 must come from human",
    ),
    (
        {"conversations": said(("human", "<image>\nA?"), ("human", "B?"))},
        "turn 2 must come from assistant or gpt, it comes from 'human'",
    ),
    ({"conversations": said(("human", "<image>\nA?"))}, "a question without an answer"),
    (
        {"conversations": said(("human", "A?"), ("gpt", "B"))},
        r"exactly once .* counts by turn are \[0, 0\]",
    ),
    (
        {"conversations": said(("human", "<image><image>\nA?"), ("gpt", "B"))},
        r"exactly once .* counts by turn are \[2, 0\]",
    ),
    (
        {"conversations": said(("human", "A?"), ("gpt", "B <image>"))},
        r"exactly once .* counts by turn are \[0, 1\]",
    ),
    ({"conversations": said(("human", "<image>\n"), ("gpt", "B"))}, "turn 1 has no text"),
    ({"conversations": said(("human", "<image>\nA?"), ("gpt", " "))}, "turn 2 has no text"),
    ({"conversations": []}, "must be a list of turns"),
    ({"conversations": [{"role": "user", "content": "A"}]}, "turn 1 must be"),
    ({"image": None}, "<image> in the conversation but no image"),
    ({"split": "later"}, "split must be train, val or test, got 'later'"),
]


@pytest.mark.parametrize(("changes", "complaint"), WRONG)
@pytest.mark.parametrize("name", ["d.json", "d.jsonl"])
def test_mistakes_are_reported_with_file_and_line(write, name, changes, complaint):
    line = 3 if name == "d.json" else 2
    path = write(name, [entry(1), entry(2, **changes)])
    with pytest.raises(DataError, match=complaint.replace("d.json:2", r"d.jsonl?:\d")) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path}:{line}: ")


def test_bytes_that_are_not_utf8_are_reported_with_their_line(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"image": "a"}\n{"image": "\xe9"}\n')
    with pytest.raises(DataError, match=r"d\.jsonl:2: not UTF-8"):
        read_records(path)


def test_corrupt_images_are_skipped_and_counted_when_asked(write, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    path = write("d.json", [entry(1), entry(2, image="bad.png"), entry(3, image="gone.png")])
    records = read_records(path, ReadOptions(skip_corrupt=True))
    assert [r.id for r in records] == ["x1"]
    assert len(records.left_out) == 2
    assert "d.json:3" in records.left_out[1]
    assert "gone.png" in records.left_out[0]
    only_bad = write("e.json", [entry(2, image="bad.png")])
    with pytest.raises(DataError, match=r"holds no records.*left out: .*e.json:2"):
        read_records(only_bad, ReadOptions(skip_corrupt=True))
