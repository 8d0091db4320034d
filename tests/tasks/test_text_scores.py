"""How probable texts are, against loops over single tokens, each row by itself."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from cloze.data import tokenizers
from cloze.errors import ConfigError, DataError
from cloze.parallel import mesh as meshes
from cloze.tasks import text_scores
from cloze.tasks.text_scores import scoring_of
from cloze.training import evaluation
from tests.training.tiny_run import WORDS
from tests.training.untrained import LENGTH, trained

TEXTS = ["the array returns a listfile", "no token, some masks", "the file", "the file"]  # listfile: several pieces
CORPUS = [" ".join(WORDS)] * 3
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def runs():
    """{name: run of every way in which texts are scored}."""
    masked = tokenizers.train(CORPUS, "byte_bpe", 400, False, 0, mask_token=True)
    gpt2 = dict(heads=("lm",), family="gpt2")
    two = dict(layers=1, decoder_layers=1)
    t5 = dict(family="t5", objective="span_corruption", head_dim=8, **two)
    return {
        "bert": trained(tokenizers.train(CORPUS, "wordpiece", 400, True, 0), ("mlm",)),
        "gpt2": trained(tokenizers.train(CORPUS, "byte_bpe", 400, False, 0), **gpt2, objective="causal_lm"),
        "gpt_bert": trained(masked, **gpt2, objective="masked_next_token"),
        "t5": trained(tokenizers.train(CORPUS, "unigram", 80, False, 9), ("lm",), **t5),
        "bart": trained(masked, ("lm",), family="bart", objective="bart", **two),
    }  # fmt: skip


@pytest.fixture(scope="module")
def log_probs(runs):
    """(run, ids, what a decoder reads beside them, whether all is seen) -> f64 [n, V]."""
    compiled = {name: jax.jit(run.model.apply) for name, run in runs.items()}

    def padded(ids):
        row = np.zeros((1, LENGTH), np.int32)
        row[0, : len(ids)] = ids
        return row, (np.arange(LENGTH) < len(ids))[None].astype(np.int32)

    def found(name, ids, decoder=None, sees_all=False):
        tokens, segments = padded(ids)
        batch = {"tokens": tokens, "segments": segments}
        batch |= {"ranks": np.zeros_like(tokens)} if sees_all else {}
        batch |= {"decoder_tokens": padded(decoder)[0]} if decoder is not None else {}
        logits = compiled[name]({"params": runs[name].params}, batch).logits
        logits = np.asarray(logits, np.float64)[0, : len(ids if decoder is None else decoder)]
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    return found


def pieces(run, text):
    """[(id, end of the word that it is of)], the end counted in pieces; words as a person would see them."""
    ids, offsets = run.tokenizer.encode_with_offsets([text])[0]
    words = [m.span() for m in re.finditer(r"\w+|[^\w\s]+", text)]
    of = []
    for first, last in offsets:
        inside = [n for n, (a, b) in enumerate(words) if max(a, first) < min(b, last)]
        of.append(inside[0] if inside else None)
    ends = [n + 1 if of[n] is None else len(of) - of[::-1].index(of[n]) for n in range(len(of))]
    return list(zip(ids.tolist(), ends, strict=True))


def by_hand(name, run, log_probs, text, scoring):
    """The sum over the pieces of a text."""
    tables, marked = run.tokenizer.tables, pieces(run, text)
    ids = [i for i, _ in marked]
    eos, total = tables.eos, 0.0
    start = {"bart": [tables.bos]}.get(name, [])
    if scoring == "causal" and name in ("gpt2", "gpt_bert"):
        found = log_probs(name, [eos, *ids])
        return sum(found[n, i] for n, i in enumerate(ids))
    if scoring == "causal":
        first = {"t5": [tables.pad], "bart": [eos, tables.bos]}[name]
        found = log_probs(name, [*start, eos], [*first, *ids])
        return sum(found[len(first) - 1 + n, i] for n, i in enumerate(ids))
    for n, (i, end) in enumerate(marked):
        end = n + 1 if scoring == "pll_original" else end
        if name in ("t5", "bart"):
            hole = tables.sentinels[0] if name == "t5" else tables.mask
            written = [tables.pad, hole] if name == "t5" else [eos, tables.bos, *ids[:n]]
            found = log_probs(name, [*start, *ids[:n], hole, *ids[end:], eos], written)
            total += found[-1, i]
            continue
        first, last = (tables.cls, tables.sep) if name == "bert" else (eos, eos)
        row = [first, *ids[:n], *[tables.mask] * (end - n), *ids[end:], last]
        total += log_probs(name, row, sees_all=name == "gpt_bert")[n + (name == "bert"), i]
    return total


@pytest.mark.parametrize("name, scoring", [
    ("bert", "pll"), ("bert", "pll_original"), ("gpt2", "causal"), ("gpt_bert", "pll"), ("gpt_bert", "pll_original"),
    ("gpt_bert", "causal"), ("t5", "pll"), ("t5", "pll_original"), ("t5", "causal"), ("bart", "pll"),
    ("bart", "causal"),
])  # fmt: skip
def test_texts_are_as_probable_as_loops_over_their_tokens_say(name, scoring, runs, log_probs):
    scorer = evaluation.text_scorer(runs[name], scoring, batch_size=4, report=lambda line: None)
    found = scorer.scores(TEXTS)
    expected = [by_hand(name, runs[name], log_probs, text, scoring) for text in TEXTS]
    np.testing.assert_allclose([one.log_prob for one in found], expected, rtol=1e-4)
    assert [one.tokens for one in found] == [len(pieces(runs[name], text)) for text in TEXTS]


def test_the_correction_within_words_changes_words_of_several_pieces_only(runs):
    several, single = "listfile", "the"
    for text, same in ((several, False), (single, True)):
        found = [evaluation.text_scorer(runs["bert"], how).scores([text])[0] for how in ("pll", "pll_original")]
        assert (found[0].tokens > 1) is not same
        assert (found[0].log_prob == pytest.approx(found[1].log_prob, rel=1e-6)) is same


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_bert", "t5", "bart"])
def test_a_blank_is_filled_by_what_is_probable_in_its_place(name, runs, log_probs):
    run, text, answer = runs[name], "a [MASK] list", "a"
    scorer = evaluation.text_scorer(run, report=lambda line: None)
    tables, whole = run.tokenizer.tables, text.replace("[MASK]", answer)
    ids, place = run.tokenizer.encode(whole).tolist(), 1
    blank, missing, several = scorer.blanks([text, text, "a [MASK] [MASK]"], [answer, "listfile", answer], 3)
    if run.tokenizer.decode(ids[place : place + 1]).strip() != answer:  # in the small vocabulary of pieces
        pytest.fail(f"{name}: {answer} is not one piece")
    first, last = {"bert": (tables.cls, tables.sep), "t5": (None, tables.eos), "bart": (tables.bos, tables.eos)}.get(
        name, (tables.eos, tables.eos)
    )
    start = [] if first is None else [first]
    hole = tables.sentinels[0] if name == "t5" else tables.mask
    row = [*start, *ids[:place], *([] if name == "gpt2" else [hole, *ids[place + 1 :], last])]
    written = {"t5": [tables.pad, hole], "bart": [tables.eos, tables.bos, *ids[:place]]}.get(name)
    at = -1 if written or name == "gpt2" else place + (name == "bert")
    found = log_probs(name, row, written, sees_all=name == "gpt_bert")[at]
    found = np.where(tables.special | ~run.tokenizer.has_piece, -np.inf, found[: run.tokenizer.vocab_size])
    assert blank.rank == 1 + sum(found > found[ids[place]]) and missing is several is None
    best = np.argsort(-found)[:3]
    assert [piece for piece, _ in blank.best] == [run.tokenizer.piece(int(i)) for i in best]
    shares = np.exp(found[best]) / np.exp(found).sum()
    np.testing.assert_allclose([share for _, share in blank.best], shares, rtol=1e-4)


def test_what_a_text_gets_depends_neither_on_the_others_nor_on_the_batch(runs):
    texts = [" ".join(rng.choice(WORDS, count)) for count in (1, 4, 9, 2, 6)]
    scorer = evaluation.text_scorer(runs["bert"], batch_size=3)
    alone = [scorer.scores([text])[0].log_prob for text in texts]
    together = [one.log_prob for one in dataclasses.replace(scorer, batch_size=8).scores(texts)]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_texts_that_cannot_be_scored_are_named(runs):
    scorer = evaluation.text_scorer(runs["bert"])
    with pytest.raises(DataError, match=r"the text '' has 0 tokens: the model scores texts of 1 to 22"):
        scorer.scores(["the", ""])
    with pytest.raises(DataError, match="has (30|60) tokens"):
        scorer.scores([" ".join(["the"] * 30)])


def test_the_way_goes_by_what_a_model_has_learned(runs):
    tables = {name: run.tokenizer.tables for name, run in runs.items()}
    assert scoring_of(("mlm", "nsp"), "encoder", "masked_lm", tables["bert"]) == "pll"
    assert scoring_of(("lm",), "decoder", "causal_lm", tables["gpt2"]) == "causal"
    assert scoring_of(("lm",), "decoder", "masked_next_token", tables["gpt_bert"]) == "pll"
    assert scoring_of(("lm",), "encoder_decoder", "span_corruption", tables["t5"]) == "pll"
    assert scoring_of(("lm",), "encoder_decoder", "denoising", tables["gpt2"]) == "causal"
    with pytest.raises(ConfigError, match="fills blanks: use pll"):
        scoring_of(("mlm",), "encoder", "masked_lm", tables["bert"], "causal")
    with pytest.raises(ConfigError, match="has not learned to fill them in: use --scoring=causal"):
        scoring_of(("lm",), "decoder", "causal_lm", tables["gpt_bert"], "pll")
    with pytest.raises(ConfigError, match="with the heads class, cannot say how probable a text is"):
        scoring_of(("class",), "encoder", "supervised", tables["bert"])
    assert set(text_scores.SCORINGS) == {"auto", "causal", "pll", "pll_original"}


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_vectors_of_an_encoder_decoder_are_means_over_its_encoder(name, runs, tmp_path):
    run, pairs = runs[name], [("the array", "a list of files", 1.0), ("one row", "one row", 5.0), ("mask", "of", 2.0)]
    lines = [{"text": a, "text_b": b, "label": score} for a, b, score in pairs]
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = evaluation.evaluate(
        run, "jsonl:regression", split="validation", files=str(tmp_path), pooling="mean", resamples=0,
        report=lambda line: None,
    )  # fmt: skip
    apply, tables, unit = jax.jit(run.model.apply), run.tokenizer.tables, {}
    for text in {text for pair in pairs for text in pair[:2]}:
        start = [tables.cls] if name == "bart" else []
        ids = np.array([[*start, *run.tokenizer.encode(text), tables.eos]], np.int32)
        states = apply({"params": run.params}, {"tokens": ids, "decoder_tokens": ids[:, :1]}).encoder_hidden[0]
        unit[text] = np.mean(states, axis=0) / np.linalg.norm(np.mean(states, axis=0))
    np.testing.assert_allclose(found.predictions, [unit[a] @ unit[b] for a, b, _ in pairs], atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_scores_are_the_same_on_eight_devices(name, runs):
    mesh = meshes.make_mesh(dict.fromkeys(meshes.MESH_AXES, 1) | {"data": 4, "fsdp": 2})
    one = runs[name]
    eight = dataclasses.replace(one, mesh=mesh, params=jax.device_put(one.params, meshes.replicated(mesh)))
    scorers = [evaluation.text_scorer(run, batch_size=3, report=lambda line: None) for run in (one, eight)]
    assert [scorer.devices.whole(3) for scorer in scorers] == [3, 8]
    alone, together = (np.array([x.log_prob for x in scorer.scores(TEXTS)]) for scorer in scorers)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    (alone,), (together,) = (scorer.blanks(["a [MASK] list"], ["a"]) for scorer in scorers)
    assert together.rank == alone.rank and together.log_prob == pytest.approx(alone.log_prob, rel=1e-5)
