"""What setup.py installs is what is there, and nothing of it has a name but `cloze`."""

import ast
import pathlib
import subprocess
import sys

import cloze

ROOT = pathlib.Path(__file__).parents[1]
ELSEWHERE = ("tests", "benchmarks", "build")  # folders of the checkout that are not installed


def listed(name):
    """The value of a constant of setup.py."""
    body = ast.parse((ROOT / "setup.py").read_text()).body
    return next(ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign) and n.targets[0].id == name)


def test_every_room_is_installed():
    there = {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py") if path.parent.name not in ELSEWHERE}
    assert set(listed("ROOMS")) == set(cloze.ROOMS) == there - {"cloze"}


def test_every_file_at_the_top_is_installed():
    assert set(listed("MODULES")) == {path.stem for path in ROOT.glob("*.py")} - {"setup"}


def test_nothing_imports_a_room_by_a_name_of_its_own():
    names = {*cloze.ROOMS, *listed("MODULES")}
    for path in ROOT.glob("**/*.py"):
        if path.relative_to(ROOT).parts[0] in (".venv", "build"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.split(".")[0] for name in imported} & names, path


def test_a_built_package_holds_everything_under_one_name(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "build"), "egg_info"]
    command += ["--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (library,) = (tmp_path / "build").glob("lib*")
    assert [path.name for path in library.iterdir()] == ["cloze"]
    code = "import cloze.cli, cloze.train; from cloze import models; print(models.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=library, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(library / "cloze" / "models" / "__init__.py")
    for room in cloze.ROOMS:
        installed = {str(path.relative_to(library / "cloze")) for path in (library / "cloze" / room).rglob("*.py")}
        assert installed == {str(path.relative_to(ROOT)) for path in (ROOT / room).rglob("*.py")}
