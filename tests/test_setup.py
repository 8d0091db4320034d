"""What setup.py installs is what is there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_every_package_is_installed():
    listed = re.search(r"packages=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL)[1]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("[a-z]*/**/__init__.py")}
    there = {name for name in there if name.split(".")[0] not in ("tests", "benchmarks", "build")}
    assert set(re.findall(r'"([\w.]+)"', listed)) == there
