import pytest

from tests.training import tiny_run, tiny_task


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A directory with text, and a cache that all tests share."""
    path = tmp_path_factory.mktemp("run")
    tiny_run.write_text(path / "text")
    return path


@pytest.fixture(scope="session")
def task_root(root):
    """The same directory with the files of a labelled task."""
    tiny_task.write(root / "task")
    return root
