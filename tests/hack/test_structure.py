"""hack/structure: the figures are right, and no package of ours has more modules than fit on one screen."""

import pathlib
import subprocess

from hack import structure

ROOT = pathlib.Path(__file__).parents[2]
MOST = 12
"""Modules of a package: more are a package inside it."""


def test_no_package_has_too_many_modules() -> None:
    found = structure.packages(structure.read(ROOT))
    assert len(found) > 20
    found |= {str(path.parent): len([*path.parent.glob("*.py")]) - 1 for path in (ROOT / "hack").rglob("__init__.py")}
    assert {name: count for name, count in found.items() if count > MOST} == {}


def test_it_counts_modules_functions_and_questions(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "one/two"
    package.mkdir(parents=True)
    for folder in (tmp_path / "one", package):
        (folder / "__init__.py").touch()
    (tmp_path / "one/a.py").write_text('"""Where it is."""\n\n\ndef f() -> int:\n    return 1\n')
    (package / "b.py").write_text(
        '"""Whereabouts."""\n\n\nclass C:\n    def g(self) -> int:\n        # one\n        return 2\n'
    )
    done = subprocess.run([ROOT / "hack/structure", tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "  1 modules in one",
        "  1 modules in one.two",
        "deepest folder: one/two, 2 levels",
        "lines of a module: median 6, largest 7 (one/two/b.py)",
        "lines of a function: median 2, largest 3 (g in one/two/b.py)",
        "docstrings that begin with a question word: 1 of 2 modules",
    ]


def test_a_folder_without_a_package_is_named(tmp_path: pathlib.Path) -> None:
    done = subprocess.run([ROOT / "hack/structure", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, "there is no package in this folder" in done.stderr) == (2, True)
