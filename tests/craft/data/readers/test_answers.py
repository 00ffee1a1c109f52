"""One rule for numeric answers, the same in every format."""

import json

import pytest

from craft.data.readers import DataError, ReadOptions, read_records
from craft.data.readers.answers import Numbers


def table(folder, kind, rows):
    path = folder / f"q.{kind}"
    if kind == "csv":
        lines = ["image,question,options,answer"]
        for options, answer in rows:
            cell = json.dumps(options).replace('"', '""')
            lines.append(f'a.png,Who?,"{cell}",{answer}')
        path.write_text("\n".join(lines))
    else:
        rows = [{"image": "a.png", "question": "Who?", "options": o, "answer": a} for o, a in rows]
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def folder(tmp_path, draw):
    draw(tmp_path / "a.png")
    return tmp_path


ANIMALS = ["dog", "cat", "cow", "hen"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ([(ANIMALS, 0), (ANIMALS, 3)], ["dog", "hen"]),
        ([(ANIMALS, 1), (ANIMALS, 4)], ["dog", "hen"]),
        ([(["7", "9"], 9), (["2", "7"], 2)], ["9", "2"]),
        ([(["3", "1", "5"], 5)], ["5"]),
    ],
)
def test_numbers_mean_the_same_option_in_every_format(folder, kind, rows, right):
    records = read_records(table(folder, kind, rows))
    assert [r.turns[0].answer for r in records] == right


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_numbers_that_fit_two_readings_are_refused_unless_the_user_says(folder, kind):
    path = table(folder, kind, [(ANIMALS, 1), (ANIMALS, 2)])
    with pytest.raises(DataError, match=r"q\.\w+:\d: answer '1' means 'cat' .* 'dog'.*numbers"):
        read_records(path)
    cases: list[tuple[Numbers, list[str]]] = [(0, ["cat", "cow"]), (1, ["dog", "cat"])]
    for numbers, right in cases:
        records = read_records(path, ReadOptions(numbers=numbers))
        assert [r.turns[0].answer for r in records] == right


@pytest.mark.parametrize(
    "names",
    [
        "A B C",
        "option_a option_b option_c",
        "choice_a choice_b choice_c",
        "option1 option2 option3",
        "Option 0,Option 1,Option 2",
    ],
)
def test_options_in_a_column_each(folder, names):
    columns = names.split(",") if "," in names else names.split()
    path = folder / "q.csv"
    path.write_text(f"image,question,{','.join(columns)},answer\na.png,Who?,dog,cat,,B\n")
    (record,) = read_records(path)
    assert (record.turns[0].options, record.turns[0].answer) == (("dog", "cat"), "cat")


def test_a_missing_option_column_is_refused(folder):
    path = folder / "q.csv"
    path.write_text("image,question,A,B,D,answer\na.png,Who?,dog,cat,cow,B\n")
    with pytest.raises(
        DataError, match=r"an option column is missing between the others: \['A', 'B', 'D'\]"
    ):
        read_records(path)


@pytest.mark.parametrize("name", ["q.json", "q.jsonl"])
def test_columns_are_those_of_all_rows(folder, name):
    rows = [
        {"image": "a.png", "question": "What?", "answer": "disc"},
        {"image": "a.png", "question": "Who?", "answer": "B", "options": ["dog", "cat"],
         "split": "test", "hint": "Look.", "id": "x"},
    ]  # fmt: skip
    text = json.dumps(rows) if name == "q.json" else "\n".join(map(json.dumps, rows))
    (folder / name).write_text(text)
    _, second = read_records(folder / name)
    assert (second.id, second.split, second.turns[0].answer) == ("x", "test", "cat")
    assert second.turns[0].question == "Context: Look.\nWho?"
    rows[0] |= {"choices": ["disc", "box"]}
    text = json.dumps(rows) if name == "q.json" else "\n".join(map(json.dumps, rows))
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=r"its options in 'choices', others in 'options'"):
        read_records(folder / name)
