"""Damaged JSON cards are refused with one line that names the file and what it should be."""

import json

import pytest
from pydantic import BaseModel

from craft.runtime.json_cards import checksum, read_card, read_json, with_checksum
from craft.runtime.stored_files import StoredFileError
from tests.craft.runtime.broken_files import DAMAGE


class Card(BaseModel):
    layer: int
    name: str = ""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(with_checksum({"layer": -2, "name": "é"})))
    return path


def test_cards_come_back(path):
    assert read_card(path, "a card", Card) == Card(layer=-2, name="é")
    assert read_json(path, "a card")["layer"] == -2
    path.write_text('{"layer": 3}')  # written by an earlier version, without a checksum
    assert read_card(path, "a card", Card).layer == 3


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_with_the_file(path, damage):
    break_it, message = DAMAGE[damage]
    break_it(path)
    with pytest.raises(StoredFileError) as error:
        read_json(path, "the card of a pack")
    assert str(error.value).startswith(f"{path}, the card of a pack, ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", "holds a JSON list, expected an object"),
        (b"{\xff}", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"layer": ' + b"9" * 5000 + b"}", "is not valid JSON"),
    ],
)
def test_other_content_is_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(StoredFileError, match=message):
        read_json(path, "a card")


def test_one_flipped_digit_is_an_error(path):
    path.write_text(path.read_text().replace("-2", "-3"))
    with pytest.raises(StoredFileError, match="is damaged or was edited"):
        read_card(path, "a card", Card)


def test_wrong_fields_are_named(path):
    path.write_text('{"layer": "many"}')
    with pytest.raises(StoredFileError, match=r"is not a card: layer: Input should be a valid int"):
        read_card(path, "a card", Card)
    path.write_text("{}")
    with pytest.raises(StoredFileError, match=r"is not a card: layer: Field required"):
        read_card(path, "a card", Card)


def test_a_checksum_is_that_of_what_json_keeps():
    assert checksum({"a": (1, 2), "b": {3: None}}) == checksum({"b": {"3": None}, "a": [1, 2]})
    assert checksum({"a": 1.0}) != checksum({"a": 1.5})
