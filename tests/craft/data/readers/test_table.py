"""CSV, TSV, JSON Lines and JSON tables: columns by name, and mistakes with their line."""

import csv
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from craft.data.domains.building import make_manifest
from craft.data.readers import Columns, DataError, ReadOptions, read_records
from craft.data.readers.rows import NO_IMAGE


@pytest.fixture
def write(tmp_path, draw):
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "b.png", 2)

    def to(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def test_questions_get_the_prompt_of_short_answers(write):
    text = (
        'id,image,question,answer\n7,a.png,"What is ""it"",\nexactly?",disc\n8,b.png,Colour?,red\n'
    )
    records = read_records(write("vqa.csv", text))
    first, second = records
    assert (first.id, records.format) == ("7", "table")
    assert first.turns[0].prompt == 'What is "it",\nexactly?\nAnswer as succinctly as possible.'
    assert [str(r.place)[-6:] for r in records] == [".csv:2", ".csv:4"]
    assert second.turns[0].target == "red"
    assert "question from 'question'" in records.notes[0]


@pytest.mark.parametrize("answer", ["cat", "B"])
def test_options_make_a_question_of_letters(write, answer):
    row = {"image": "a.png", "question": "Who?", "choices": ["dog", "cat", "cow"], "answer": answer}
    (record,) = read_records(write("vqa.jsonl", json.dumps(row)))
    (turn,) = record.turns
    assert turn.prompt == "Who?\nA. dog\nB. cat\nC. cow\nAnswer in one letter only."
    assert (turn.target, turn.answer) == ("B", "cat")
    assert turn.statement == "Question: Who? Answer: cat."


@pytest.mark.parametrize("text", ['["dog", "cat"]', "dog| cat"])
def test_options_in_a_cell(write, text):
    columns = Columns(image="image", question="question", answer="answer", options="options")
    if "|" in text:
        columns = Columns(**{**vars(columns), "options_separator": "|"})
    cell = text.replace('"', '""')
    path = write("v.csv", f'image,question,answer,options\na.png,Who?,cat,"{cell}"\n')
    (record,) = read_records(path, ReadOptions(columns=columns))
    assert record.turns[0].options == ("dog", "cat")


def test_several_answers_teach_the_most_frequent_one(write):
    row = {"image": "a.png", "question": "Who?", "answers": ["dog", "cat", "cat"]}
    (record,) = read_records(write("v.json", json.dumps([row])))
    assert record.turns[0].target == "cat"


def test_labels_captions_and_splits(write):
    text = "file_name\tlabel\tsplit\tcaption\na.png\tcat\ttrain\ta cat sits\nb.png\tdog\ttest\t\n"
    records = read_records(write("m.tsv", text))
    assert [(r.label, r.split, r.captions) for r in records] == [
        ("cat", "train", ("a cat sits",)),
        ("dog", "test", ()),
    ]


def test_numbers_as_labels_need_names(write):
    path = write("m.csv", "image,label\na.png,0\nb.png,1\n")
    with pytest.raises(DataError, match=r"m\.csv:2: label 0 is a number.*--class-names"):
        make_manifest(read_records(path))
    named = read_records(path, ReadOptions(class_names=("cat", "dog")))
    assert [r.label for r in named] == ["cat", "dog"]
    numbers = write("m.json", '[{"image": "a.png", "label": 2}]')
    with pytest.raises(DataError, match=r"label 2 is a number.*--class-names"):
        make_manifest(read_records(numbers))
    with pytest.raises(DataError, match=r"label 2, but there are 2 class names"):
        read_records(numbers, ReadOptions(class_names=("cat", "dog")))


def test_chat_messages(write):
    row = {
        "images": ["a.png"],
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
            {"role": "assistant", "content": "a cat"},
        ],
    }
    (record,) = read_records(write("m.jsonl", json.dumps(row)))
    assert [(t.prompt, t.target) for t in record.turns] == [("Who?", "a cat")]
    row["messages"][0]["content"] = [{"type": "video"}]
    with pytest.raises(DataError, match=r"message 1: parts must be of type text or image"):
        read_records(write("m.jsonl", json.dumps(row)))


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("empty", [{"images": []}, {"images": None}, {"images": [None]}, {}])
@pytest.mark.parametrize("column", ["messages", "conversations", "question"])
def test_rows_without_an_image_are_left_out_and_counted(write, tmp_path, kind, empty, column):
    def row(token):
        if column == "question":
            return {"question": "Who?", "answer": "a cat"}
        who, what = ("role", "content") if column == "messages" else ("from", "value")
        question = {who: "user", what: token + "Who?"}
        return {column: [question, {who: "assistant", what: "a cat"}]}

    path = tmp_path / f"m.{kind}"
    rows = [{"images": ["a.png"], **row("<image>")}, {**empty, **row("")}, {**row("")}]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        as_text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(as_text)
    records = read_records(path)
    assert [[t.answer for t in r.turns] for r in records] == [["a cat"]]
    assert len(records.account.skipped(NO_IMAGE)) == 2
    assert all(place.startswith(str(path)) for place in records.account.skipped(NO_IMAGE))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "saved"])
@pytest.mark.parametrize("token", ["", "<image>\n"])
def test_rows_with_another_name_for_the_image_are_refused(write, tmp_path, kind, token):
    def row(name, number):
        value = [f"{name[0]}.png"] if name == "images" else "a.png"
        talk = [{"from": "human", "value": f"{token if name == 'images' else '<image>'}Who?"}]
        talk += [{"from": "gpt", "value": "a cat"}]
        said = {"label": "cat"} if kind == "csv" else {"conversations": talk}
        return {"image": "", "images": None, "image_path": None, name: value, "id": number, **said}

    rows = [row("image", "1"), row("image", "2"), row("image_path", "3"), row("images", "4")]
    path = tmp_path / f"d.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        lines = [",".join(rows[0]), *(",".join(str(x or "") for x in r.values()) for r in rows[:3])]
        path.write_text("\n".join(lines))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        datasets.Dataset.from_list(rows).save_to_disk(path)
    with pytest.raises(DataError, match=r"image in 'image_path', others in 'image'") as error:
        read_records(path)
    assert kind == "csv" or "its image in 'images', others in 'image'" in str(error.value)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("cell", ["", " ", '""'])
def test_empty_cells_are_rows_without_an_image(write, kind, cell):
    text = f"image,question,answer\na.png,Who?,a cat\n{cell},Why?,a dog\n"
    path = write(f"m.{kind}", text if kind == "csv" else text.replace(",", "\t"))
    records = read_records(path)
    assert len(records) == 1
    assert records.account.skipped(NO_IMAGE) == (f"{path}:3",)


@pytest.mark.parametrize("value", [[], None])
def test_a_message_that_shows_an_image_which_the_row_lacks_is_an_error(write, value):
    parts = [{"type": "image"}, {"type": "text", "text": "Who?"}]
    talk = [{"role": "user", "content": parts}, {"role": "assistant", "content": "a cat"}]
    rows = [{"images": ["a.png"], "messages": talk}, {"images": value, "messages": talk}]
    with pytest.raises(DataError, match=r"m\.jsonl:2: <image> in the conversation but no image"):
        read_records(write("m.jsonl", "\n".join(map(json.dumps, rows))))


def test_an_lfs_pointer_is_not_skipped(write, tmp_path):
    (tmp_path / "b.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    path = write("t.csv", "image,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError, match=r"t\.csv:3: a Git LFS pointer .*git lfs pull"):
        read_records(path, ReadOptions(skip_corrupt=True))


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("a.png,What?,cat\nb.png,Who?,dog\n", 1, "no header: the first row is .*a.png.*expected"),
        ("image,title\na.png,x\n", 1, "expected an image column with question and answer"),
        ("image,label,label\na.png,x,y\n", 1, "two columns have the same name"),
        ("image,label\na.png,cat\nb.png,dog,3\n", 3, "3 fields, the header has 2"),
        ("image,label\na.png,cat\nb.png,\n", 3, "label must be a class name or number, got ''"),
        ("image,label\na.png,cat\nc.png,dog\n", 3, "no such image file: .*c.png"),
        ('image,label\na.png,"cat\n', 2, "malformed CSV"),
        ("image,label,split\na.png,cat,later\n", 2, "split must be train, val or test"),
        ("id,image,label\n1,a.png,cat\n1,b.png,dog\n", 3, "id '1' was used before, at .*:2"),
        ("image,question,answer\na.png,,cat\n", 2, "question must be a text, got ''"),
    ],
)
def test_mistakes_are_reported_with_their_line(write, text, line, complaint):
    path = write("t.csv", text)
    with pytest.raises(DataError, match=complaint) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"answer": "cow"}, "answer 'cow' is not one of"),
        ({"answer": 3}, r"answer 3 is not one of \(read by text\)"),
        ({"options": ["B", "A"], "answer": "A"}, "means two options, by text and by letter"),
        ({"options": ["dog", "dog"]}, "two options are the same"),
        ({"options": ["dog"]}, "options must be a list of 2 to 26"),
        ({"answer": None}, "answer must be a text, got None"),
    ],
)
def test_answers_must_mean_one_option(write, changes, complaint):
    row = {"image": "a.png", "question": "Who?", "options": ["dog", "cat"], "answer": "cat"}
    good = json.dumps(row)
    path = write("t.jsonl", good + "\n" + json.dumps(row | changes))
    with pytest.raises(DataError, match=complaint) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "saved"])
def test_white_space_around_texts_is_ignored(write, tmp_path, kind):
    rows = [{"image": "a.png", "question": " Who?\t", "A": " dog ", "B": "\ncat", "answer": "cat "}]
    path = tmp_path / f"t.{kind}"

    def read():
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif kind == "saved":
            datasets.Dataset.from_list(rows).save_to_disk(path)
        elif kind in {"csv", "tsv"}:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(
                    file,
                    list(rows[0]),
                    delimiter="," if kind == "csv" else "\t",
                    quoting=csv.QUOTE_ALL,
                )
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text(json.dumps(rows if kind == "json" else rows[0]))
        return read_records(path)

    ((turn,),) = [record.turns for record in read()]
    assert (turn.question, turn.options, turn.target) == ("Who?", ("dog", "cat"), "B")
    rows[0] |= {"A": "cat", "B": "cat "}
    with pytest.raises(DataError, match=r"two options are the same: \['cat', 'cat'\]"):
        read()


def test_a_row_without_the_column_of_the_others_is_refused(write):
    path = write("t.jsonl", '{"image": "a.png", "label": "x"}\n{"image": "b.png"}')
    with pytest.raises(DataError, match=r"t\.jsonl:2: no column 'label' for label"):
        read_records(path)
