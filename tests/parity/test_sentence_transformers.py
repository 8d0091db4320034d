"""Losses and vectors of texts against the library sentence-transformers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cloze import models, objectives
from cloze.data import tokenizers
from cloze.interop import sentence_transformers as directories
from cloze.models import Outputs
from cloze.objectives.contrastive import Contrastive
from tests.training.tiny_run import WORDS
from tests.training.untrained import trained

library = pytest.importorskip("sentence_transformers", reason="pip install 'cloze[parity]'")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")

RNG = np.random.default_rng(0)
TEXTS = ["the list", "a large file is open", " ".join(WORDS), "every mask sees some token of this row"]


class Given(torch.nn.Module):
    """A model that gives vectors that are there already."""

    def forward(self, features):
        return dict(features)

    def get_embedding_dimension(self):
        return 16


def theirs(loss, vectors):
    columns = [{"sentence_embedding": torch.tensor(vectors[:, number])} for number in range(vectors.shape[1])]
    return float(loss(columns, None))


def ours(vectors, **options):
    tokens = jnp.arange(vectors.shape[0] * vectors.shape[1], dtype=jnp.int32).reshape(*vectors.shape[:2], 1)
    batch = {"tokens": tokens, "choice_weights": jnp.ones(vectors.shape[:2])}
    terms = Contrastive(width=vectors.shape[-1], **options).loss(
        Outputs(heads={"embedding": jnp.array(vectors)}), batch
    )
    return sum(term.coefficient * float(term.sum / term.weight) for term in terms.values())


@pytest.mark.parametrize("texts", [2, 4])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_multiple_negatives_ranking(texts, temperature):
    vectors = RNG.normal(size=(6, texts, 16)).astype(np.float32)
    loss = losses.MultipleNegativesRankingLoss(Given(), scale=1 / temperature)
    assert ours(vectors, temperature=temperature) == pytest.approx(theirs(loss, vectors), rel=1e-5)
    both = losses.MultipleNegativesRankingLoss(
        Given(), scale=1 / temperature, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    assert ours(vectors, temperature=temperature, symmetric=True) == pytest.approx(theirs(both, vectors), rel=1e-5)


def test_matryoshka():
    """Their loss is the sum over sizes, ours the mean."""
    vectors, sizes, weights = RNG.normal(size=(6, 2, 16)).astype(np.float32), (16, 8, 4), (1.0, 2.0, 0.5)
    model = Given()
    loss = losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), list(sizes), list(weights))
    got = ours(vectors, matryoshka_sizes=sizes, matryoshka_weights=weights)
    assert got * sum(weights) == pytest.approx(theirs(loss, vectors), rel=1e-5)


def vectors_of(run, pooling):
    """(f32 [n, D] of TEXTS, of length 1; the Layout of their rows)."""
    config = run.config
    config.objective.name, config.task.kind = "contrastive", "embedding"
    made = dataclasses.replace(run.model.config, heads_out=("embedding",), pooling=pooling)
    layout = objectives.build(config, run.tokenizer.tables, made).rows.layout
    model, found = models.build(made), []
    for text in TEXTS:
        ids = [*layout.start, *run.tokenizer.encode(text)[: layout.length - len(layout.start) - len(layout.end)]]
        batch = {"tokens": jnp.array([[*ids, *layout.end]], jnp.int32)}
        found.append(np.asarray(jax.jit(model.apply)({"params": run.params}, batch).heads["embedding"][0]))
    return np.stack(found) / np.linalg.norm(found, axis=-1, keepdims=True), layout, made


@pytest.mark.parametrize("family, pooling", [
    ("bert", "mean"), ("bert", "first"), ("gpt2", "last"), ("gpt2", "mean"), ("llama", "last")
])  # fmt: skip
def test_the_library_gives_the_same_vectors(family, pooling, tmp_path):
    kind = "wordpiece" if family == "bert" else "byte_bpe"
    tokenizer = tokenizers.train([" ".join(WORDS)] * 3, kind, 400, True, 0)
    run = trained(tokenizer, (), family=family, **({"preset": "1_7b"} if family == "llama" else {}))
    expected, layout, made = vectors_of(run, pooling)
    lines = []
    directories.save(tmp_path / "st", made, run.params, tokenizer, layout, report=lines.append)
    model = library.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert model.max_seq_length == layout.length and len(model.tokenizer(TEXTS[2]).input_ids) > layout.length
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)
    assert directories.pooling_of(tmp_path / "st") == (pooling, ())
    model.save(str(tmp_path / "again"))  # as newer releases of the library write it
    assert directories.pooling_of(tmp_path / "again") == (pooling, ())
