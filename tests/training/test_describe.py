"""What a run says of its configuration before it starts."""

import pytest

from cloze.configs import base
from cloze.training import describe


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"model.rope_theta": 5e5}, "  model.rope_theta = 500000.0 (not read: model.positions is learned)"),
        ({"model.rope_theta": 5e5, "model.positions": "rotary"}, "  model.rope_theta = 500000.0"),
        ({"model.layers": 3}, "  model.layers = 3"),
        ({"tokenizer.lowercase": False}, "  tokenizer.lowercase = False"),
        (
            {"tokenizer.lowercase": False, "tokenizer.path": "a.json"},
            "  tokenizer.lowercase = False (not read: tokenizer.path is given)",
        ),
        ({"tokenizer.kind": "bpe", "tokenizer.path": "a.json"}, "  tokenizer.kind = 'bpe'"),  # it is held against it
        ({"task.stride": 64}, "  task.stride = 64 (not read: there is no task.name)"),
        ({"task.stride": 64, "task.name": "squad"}, "  task.stride = 64"),
    ],
)
def test_what_a_run_does_not_read_is_named(changes, line):
    config, lines = base.get_base(), []
    config.update_from_flattened_dict(changes)
    describe.differences_from_base(config, lines.append)
    assert line in lines


def test_what_no_run_is_told_of_is_no_line():
    lines = []
    describe.differences_from_base(base.get_base(), lines.append)
    assert lines == ["Configuration, where it differs from configs/base.py:"]
