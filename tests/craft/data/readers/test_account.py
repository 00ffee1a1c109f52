"""The account of what was skipped and warned about."""

from pathlib import Path

from craft.data.readers import Account, AccountSummary, Place
from craft.data.readers.account import KEPT, UNREADABLE
from craft.data.readers.place import shown


def test_equal_reasons_add_up_and_every_place_is_kept():
    account = Account()
    account.skip(UNREADABLE, Place(Path("a.csv"), 3), "cut short")
    account.skip(UNREADABLE, Path("b.png"))
    account.warn("dark images", Path("c.png"), "values 0 to 7")
    summary = account.summary(10)
    assert list(summary.lines()) == [
        ("skipped", "2 images that cannot be read"),
        ("", "a.csv:3: cut short"),
        ("", "b.png"),
        ("warning", "1 dark images"),
        ("", "c.png: values 0 to 7"),
    ]
    assert AccountSummary.model_validate_json(summary.model_dump_json()) == summary


def test_long_lists_are_shortened_when_shown_and_kept_up_to_a_limit():
    account = Account()
    for i in range(KEPT + 5):
        account.skip("files", Path(f"{i}"))
    summary = account.summary(0)
    assert summary.skipped[0].count == KEPT + 5
    assert len(summary.skipped[0].places) == KEPT
    assert list(summary.lines(1)) == [
        ("skipped", f"{KEPT + 5} files"),
        ("", "0"),
        ("", f"and {KEPT + 4} more"),
    ]


def test_a_file_name_that_is_not_utf8_can_be_printed_and_stored():
    name = b"caf\xe9\x80.png".decode("utf-8", "surrogateescape")
    assert shown(name) == r"caf\xe9\x80.png"
    assert str(Place(Path(name), 2)) == r"caf\xe9\x80.png:2"
    assert shown("\ud800 é") == r"\ud800 é"
    account = Account()
    account.skip("files", Path(name))
    assert r"caf\\xe9\\x80.png" in account.summary(0).model_dump_json()
