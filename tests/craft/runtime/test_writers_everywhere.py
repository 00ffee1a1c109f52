"""No file is written but whole, or by whole pieces; see whole_file, whole_folder, appended_file."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3] / "craft"
#: Where files are written otherwise, by which calls, and why they may be.
ALLOWED = {
    "runtime/whole_file.py": ({"open", "write_bytes", "save_file", "replace"}, "the writer"),
    "runtime/whole_folder.py": ({"replace"}, "the writer"),
    "runtime/appended_file.py": ({"open"}, "the writer"),
    "runtime/directory_lock.py": ({"os.open"}, "the lock, which the system itself decides on"),
    "data/images/cache.py": (
        {"open", "replace"},
        "a lock that holds nothing; a file of pixels that grew by pieces, once it is whole",
    ),
    "training/records/checkpoint.py": ({"rename"}, "to a name that nobody reads, to be deleted"),
    # What these write lies inside a folder or file that is put in place when it is whole.
    "corpus/token_file.py": ({"write_table"}, "in whole_file"),
    "evaluation/results.py": ({"open"}, "in files_together"),
    "integrations/vila_u/carried_files.py": ({"copyfile"}, "in whole_directory"),
    "integrations/vila_u/convert.py": ({"save_pretrained"}, "in whole_directory"),
    "integrations/vila_u/export.py": ({"copy", "copytree", "symlink"}, "in whole_directory"),
    "integrations/vila_u/restore.py": ({"copyfile"}, "in whole_directory"),
    "integrations/vila_u/tensor_files.py": ({"open"}, "in whole_file"),
    "models/aligned_language_model.py": ({"save_pretrained"}, "in parts_swapped"),
    "models/codebook_checkpoint.py": ({"save_pretrained"}, "in files_together"),
    "report/figures.py": ({"savefig"}, "to what the caller opened: memory, or a whole_file"),
    "workbench/alignment.py": ({"save_pretrained"}, "our own, by parts_swapped"),
    # What makes the models and data of the package, in folders of their own, for its authors.
    "pocket/build/data.py": ({"write_text"}, "the package's own files"),
    "pocket/build/language.py": ({"save_pretrained"}, "the package's own files"),
    "pocket/build/models.py": ({"save_file", "save_pretrained"}, "the package's own files"),
    "pocket/build/records.py": ({"write_table"}, "the package's own files"),
}
METHODS = {"write_text", "write_bytes", "save_file", "save_pretrained", "savefig", "write_table"}
METHODS |= {"copyfile", "copytree", "symlink", "symlink_to", "hardlink_to", "touch", "to_csv"}
QUALIFIED = {"torch.save", "json.dump", "pickle.dump", "np.save", "np.savez", "shutil.copy"}
QUALIFIED |= {"os.replace", "os.rename", "shutil.move", "yaml.dump_all"}


def writers_in(source: str) -> list[str]:
    """Calls that write or move files."""
    found = []
    tree = ast.parse(source)
    ours = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("craft.")
        for name in node.names
    }
    ours |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        name = call.rpartition(".")[2]
        if isinstance(node.func, ast.Name) and name in ours:
            continue
        if call == "os.open":
            if "O_CREAT" in ast.unparse(node) or "O_WRONLY" in ast.unparse(node):
                found.append("os.open")
        elif name == "open" and _mode(node) & set("wax+"):
            found.append("open")
        elif name in METHODS or call in QUALIFIED:
            found.append(name)
        elif name == "rename" and len(node.args) == 1:
            found.append("rename")
        elif call in ("yaml.safe_dump", "yaml.dump") and len(node.args) > 1:
            found.append(name)
    return found


def _mode(call: ast.Call) -> set[str]:
    """The letters of the mode that a file is opened in."""
    of_path = isinstance(call.func, ast.Attribute)
    given = call.args[0 if of_path else 1 : 1 if of_path else 2]
    given += [word.value for word in call.keywords if word.arg == "mode"]
    texts = [x.value for x in given if isinstance(x, ast.Constant) and isinstance(x.value, str)]
    return set("".join(texts))


def test_the_search_finds_what_it_looks_for() -> None:
    source = """
from craft.runtime.whole_file import write_text
write_text(path, "x")
path.write_text("x")
open(path, "w")
open(path)
path.open("ab")
path.open("rb")
torch.save(x, path)
save_file(x, path)
json.dump(x, file)
json.dumps(x)
os.open(path, os.O_CREAT)
os.open(path, os.O_RDONLY)
path.rename(other)
"""
    wanted = ["write_text", "open", "open", "save", "save_file", "dump", "os.open", "rename"]
    assert writers_in(source) == wanted


def test_files_are_written_in_one_place() -> None:
    used = {}
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        found = set(writers_in(path.read_text()))
        allowed, _ = ALLOWED.get(name, (set(), ""))
        others = found - allowed
        assert not others, f"{name} writes by {sorted(others)}: use whole_file or appended_file"
        if found:
            used[name] = found
    # Nothing is allowed that nobody does any more.
    assert {name: calls for name, (calls, _) in ALLOWED.items()} == used
