"""Every architecture against the PyTorch classes of transformers, on CPU. Run by `make parity`, which installs them."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.parity import cases_decoders, cases_encoders, cases_relative, harness

CASES = [*cases_encoders.CASES, *cases_relative.CASES, *cases_decoders.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case, tmp_path):
    harness.compare(case, tmp_path)


def test_long_relative_positions():
    """Buckets far beyond those of short rows, in both directions, agree with the reference's f32 arithmetic."""
    from transformers.models.t5.modeling_t5 import T5Attention

    from cloze.models.positions.relative_bias import relative_bucket

    distance = np.arange(-3000, 3001)
    for bidirectional in (True, False):
        expected = T5Attention._relative_position_bucket(torch.tensor(distance), bidirectional, 32, 128).numpy()
        got = relative_bucket(jnp.asarray(distance), bidirectional=bidirectional, buckets=32, max_distance=128)
        np.testing.assert_array_equal(got, expected)
