"""Names from files and options stay in the folder they belong to."""

import os
from pathlib import Path

import pytest

from craft.errors import CraftError
from craft.runtime.inside import inside, require_inside, require_plain_name
from craft.runtime.stored_files import StoredFileError

SECRET = "s3cr3t"


@pytest.fixture
def folder(tmp_path):
    """A folder with a file, and links to a secret outside it."""
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "sub" / "a.txt").write_text("a")
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "here-too").mkdir()  # begins with the folder's name
    (here / "link.txt").symlink_to(tmp_path / "secret.txt")
    (here / "up").symlink_to(tmp_path)
    (here / "within").symlink_to(here / "sub")
    return here


@pytest.mark.parametrize("name", ["sub/a.txt", "sub/../sub/a.txt", "within/a.txt", "none", "."])
def test_names_that_stay_are_joined(folder, name):
    assert inside(folder, name, "the card") == folder / name


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "../here-too",
        "link.txt",
        "up/secret.txt",
        "within/../../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
    ],
)
def test_names_that_leave_are_refused(folder, name):
    with pytest.raises(StoredFileError, match=r"the card names .* leads out of") as error:
        inside(folder, name, "the card")
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "a\0b", "a" * 5000, None, 3, ["a"]])
def test_what_is_no_path_is_refused(folder, name):
    with pytest.raises(StoredFileError, match="which is no path") as error:
        inside(folder, name, "the card")
    assert len(str(error.value)) < 300


def test_a_home_directory_is_not_looked_up(folder):
    assert inside(folder, "~/x", "the card") == folder / "~" / "x"


def test_names_of_another_system_do_not_leave(folder):
    """Separators on Windows, ordinary characters here; neither leads out."""
    for name in ("..\\secret.txt", "C:\\secret.txt"):
        if os.sep == "\\":
            with pytest.raises(StoredFileError):
                inside(folder, name, "the card")
        else:
            assert inside(folder, name, "the card").parent == folder


def test_links_are_followed_where_the_user_said_so(folder):
    assert inside(folder, "link.txt", "the table", follow_links=True).read_text() == SECRET
    for name in ("../secret.txt", "/etc/passwd", "within/../../secret.txt"):
        with pytest.raises(StoredFileError):
            inside(folder, name, "the table", follow_links=True)
    # The system would resolve ".." from the link's target.
    found = inside(folder, "up/../sub/a.txt", "the table", follow_links=True)
    assert found == folder / "sub" / "a.txt"


def test_a_folder_that_is_a_link_itself_is_fine(folder, tmp_path):
    (tmp_path / "named").symlink_to(folder)
    assert inside(tmp_path / "named", "sub/a.txt", "the card").read_text() == "a"


def test_a_snapshot_of_the_hub_consists_of_links(tmp_path):
    repository = tmp_path / "models--an--org"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "beef").write_text("{}")
    (tmp_path / "secret.txt").write_text(SECRET)
    (snapshot / "config.json").symlink_to(Path("../../blobs/beef"))
    (snapshot / "bad.json").symlink_to(tmp_path / "secret.txt")
    assert require_inside(snapshot, snapshot / "config.json", "x").read_text() == "{}"
    with pytest.raises(StoredFileError, match="leads out of"):
        require_inside(snapshot, snapshot / "bad.json", "x")
    (repository / "blobs" / "cafe").symlink_to(tmp_path / "secret.txt")
    (snapshot / "worse.json").symlink_to(Path("../../blobs/cafe"))
    with pytest.raises(StoredFileError, match="leads out of"):
        require_inside(snapshot, snapshot / "worse.json", "x")


@pytest.mark.parametrize("name", ["vila-u", "vila u 7b", "Größe_1.5", "猫"])
def test_plain_names(name):
    assert require_plain_name(name, "--name") == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc", "a\\b", "C:", "~", "~root", "-rf", ".git"),
        *("a\0b", "a\nb", "\x1b[31m", " a", "a ", "a" * 101, "a?", "a*", 'a"'),
    ],
)
def test_names_that_are_not_plain(name):
    with pytest.raises(CraftError, match="--name must be a plain name"):
        require_plain_name(name, "--name")
