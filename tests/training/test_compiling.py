"""What a process that compiles for a plan leaves behind, and what is read of it."""

import json

import pytest

from cloze.errors import ConfigError
from cloze.training import compiling

NAME = "module_0003.jit_train_step.cl_1.after_optimizations"


def test_the_program_and_its_memory_are_read_before_machine_code_is_there(tmp_path):
    (tmp_path / f"{NAME}.txt").write_text("HloModule jit_train_step\n")
    report = "Memory Space: default (color=0)\nTotal bytes: 1234 (1.2KiB)\n\nMemory Space: vmem\nTotal bytes: 9"
    (tmp_path / f"{NAME}-memory-usage-report.txt").write_text(report)
    assert compiling._read(tmp_path) == compiling.Compiled("HloModule jit_train_step\n", 1234.0)


@pytest.mark.parametrize(
    "answer, error, message",
    [
        ({"wrong": "libtpu does not know v5e:3x5"}, ConfigError, "does not know"),
        ({"failed": "Traceback: INTERNAL"}, RuntimeError, "INTERNAL"),
        (None, RuntimeError, "ended by another"),
    ],
)
def test_a_process_that_fails_says_why(tmp_path, answer, error, message):
    if answer:
        (tmp_path / compiling.ANSWER).write_text(json.dumps(answer))
    with pytest.raises(error, match=message):
        compiling._read(tmp_path)


def test_a_step_that_the_compiler_refuses_is_no_error(tmp_path):
    (tmp_path / compiling.ANSWER).write_text(json.dumps({"refused": "RESOURCE_EXHAUSTED: too much"}))
    assert compiling._read(tmp_path).refused.endswith("too much")
