"""ELECTRA: what is hidden, how what is found is scored, and who learns from what."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from cloze.errors import ConfigError
from cloze.models.composites.generator import put
from tests.objectives import pairs

UNLIKELY = 1e-6
ELECTRA = dict(
    data__sequence_length=pairs.LENGTH, objective__mask_token_share=0.85, objective__random_token_share=0.0,
    objective__mask_rate=0.25,
)  # fmt: skip
TABLES = ("token/embedding", "encoder_embeddings/position", "encoder_embeddings/token_type", "encoder_embeddings/norm")


@pytest.fixture(scope="module")
def objective(build):
    return build("replaced_tokens", **ELECTRA)


@pytest.fixture(scope="module")
def corrupt(objective):
    return jax.jit(objective.corrupt)


@pytest.fixture(scope="module")
def runs(build):
    """{task: (objective, batch, outputs)} of one program."""
    made = {task: build("replaced_tokens", **ELECTRA, objective__replaced_task=task) for task in TASKS}
    models = {task: pairs.composite(objective, embedding_width=16) for task, objective in made.items()}
    rows = pairs.rows([16, 16, 9, 5])

    @jax.jit
    def run(params):
        found = {}
        for task, objective in made.items():
            batch = objective.corrupt(jax.random.key(0), rows)
            outputs = models[task][0].apply({"params": params[task]}, batch)
            # An untrained generator is right once in forty draws: here one draw of each row is.
            sampled = outputs.sampled.at[:, 0].set(batch["targets"][:, 0])
            tokens = put(batch, outputs.tokens, sampled)
            found[task] = batch, outputs.replace(sampled=sampled, tokens=tokens), rows["tokens"]
        return found

    found = run({task: params for task, (_, params) in models.items()})
    return {task: (made[task], *found[task]) for task in TASKS}


TASKS = ("detect", "detect_hidden", "replace_mlm", "all_tokens_mlm")


def test_hides_as_masked_lm_with_a_key_for_the_draws(build, objective, corrupt):
    rows = pairs.rows([16, 12, 3, 16])
    batch = pairs.to_numpy(corrupt(jax.random.key(0), rows))
    plain = build("masked_lm", **ELECTRA)
    keys = jax.vmap(lambda r: jax.random.split(jax.random.fold_in(jax.random.key(0), r))[0])(np.arange(4))
    expected = jax.jit(jax.vmap(plain.corrupt_row))(keys, {n: array for n, array in rows.items() if n != "row"})
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array)
    assert batch["sample_key"].dtype == np.uint32 and len(np.unique(batch["sample_key"], axis=0)) == 4
    again, later = corrupt(jax.random.key(0), rows), corrupt(jax.random.key(1), rows)
    np.testing.assert_array_equal(batch["sample_key"], again["sample_key"])
    assert (batch["sample_key"] != later["sample_key"]).any(axis=1).all()


@hypothesis.given(st.lists(st.integers(0, pairs.LENGTH), min_size=4, max_size=4))
@hypothesis.example([0, 1, 2, 3])
@hypothesis.example([pairs.LENGTH] * 4)
@hypothesis.settings(deadline=None, max_examples=30)
def test_only_text_is_hidden_and_none_is_lost(corrupt, lengths):
    rows = pairs.rows(lengths)
    batch = pairs.to_numpy(corrupt(jax.random.key(7), rows))
    for r, count in enumerate(lengths):
        used = batch["target_weights"][r] > 0
        places = batch["prediction_positions"][r][used]
        assert used.sum() == min(max(1, round(0.25 * count)), max(count - 2, 0))
        assert ((places > 0) & (places < count - 1)).all()
        restored = batch["tokens"][r].copy()
        restored[places] = batch["targets"][r][used]
        np.testing.assert_array_equal(restored, rows["tokens"][r])


def test_of_the_hidden_85_percent_are_masked_and_none_is_random(corrupt):
    batch = pairs.to_numpy(corrupt(jax.random.key(1), pairs.rows([16] * 8192)))
    shown = np.take_along_axis(batch["tokens"], batch["prediction_positions"], 1)
    masked = shown == pairs.MASK
    assert stats.binomtest(int(masked.sum()), masked.size, 0.85).pvalue > UNLIKELY
    np.testing.assert_array_equal(shown[~masked], batch["targets"][~masked])


def found_by_hand(batch, outputs, text, hidden_only):
    """(log-likelihood of each scored token, its label, its logit)."""
    batch, logits = pairs.to_numpy(batch), np.asarray(outputs.main.heads["rtd"], np.float64)
    losses, labels, scores = [], [], []
    for r, tokens in enumerate(np.asarray(outputs.tokens)):
        hidden = set(batch["prediction_positions"][r][batch["target_weights"][r] > 0].tolist())
        for place in range(pairs.LENGTH):
            if batch["segments"][r, place] == 0 or (hidden_only and place not in hidden):
                continue
            replaced = tokens[place] != text[r, place]
            p = 1 / (1 + np.exp(-logits[r, place]))
            losses.append(-np.log(p if replaced else 1 - p))
            labels.append(replaced)
            scores.append(logits[r, place])
    return np.array(losses), np.array(labels), np.array(scores)


def generator_by_hand(batch, outputs):
    used = np.asarray(batch["target_weights"]) > 0
    p = pairs.softmax(np.asarray(outputs.generator_logits))
    return -np.log(np.take_along_axis(p, np.asarray(batch["targets"])[..., None], -1)[..., 0])[used]


@pytest.mark.parametrize("task", ["detect", "detect_hidden"])
def test_detection_is_scored_as_by_hand(runs, task):
    objective, batch, outputs, text = runs[task]
    terms = objective.loss(outputs, batch)
    losses, labels, scores = found_by_hand(batch, outputs, np.asarray(text), task == "detect_hidden")
    assert 0 < labels.sum() < labels.size  # some draws are the original, which then counts as original
    assert len(labels) == (46 if task == "detect" else np.asarray(batch["target_weights"]).sum())
    said = scores > 0
    expected = {
        "mlm": (generator_by_hand(batch, outputs), 1.0),
        "rtd": (losses, 50.0),
        "rtd_accuracy": (said == labels, 0.0),
        "replaced": (labels, 0.0),
        "replaced_precision": (labels[said], 0.0),
        "replaced_recall": (said[labels], 0.0),
    }
    pairs.check_terms(terms, expected)
    assert set(terms) == set(expected) | {"mlm_accuracy"}


def test_replaced_text_is_restored_at_the_hidden_tokens(runs):
    objective, batch, outputs, _ = runs["replace_mlm"]
    used = np.asarray(batch["target_weights"]) > 0
    p = pairs.softmax(np.asarray(outputs.main.logits))
    targets = np.asarray(batch["targets"])
    losses = -np.log(np.take_along_axis(p, targets[..., None], -1)[..., 0])[used]
    terms = objective.loss(outputs, batch)
    right = (p.argmax(-1) == targets)[used]
    pairs.check_terms(terms, {"main_mlm": (losses, 50.0), "main_mlm_accuracy": (right, 0.0)})
    pairs.check_terms(terms, {"mlm": (generator_by_hand(batch, outputs), 1.0)})


def test_all_tokens_are_copied_or_written(runs):
    objective, batch, outputs, text = runs["all_tokens_mlm"]
    p, copying = pairs.softmax(np.asarray(outputs.main.logits)), pairs.sigmoid(np.asarray(outputs.main.heads["copy"]))
    losses = []
    for r, row in enumerate(np.asarray(text)):
        for place in np.flatnonzero(np.asarray(batch["segments"])[r]):
            same = outputs.tokens[r, place] == row[place]
            likelihood = (1 - copying[r, place]) * p[r, place, row[place]] + copying[r, place] * same
            losses.append(-np.log(likelihood))
    pairs.check_terms(objective.loss(outputs, batch), {"main_mlm": (losses, 50.0)})


def test_saying_original_everywhere_costs_the_entropy_of_the_share(objective, runs):
    _, batch, outputs, _ = runs["detect"]
    share = float(objective.loss(outputs, batch)["replaced"].sum) / 46
    constant = jnp.full(outputs.main.heads["rtd"].shape, np.log(share / (1 - share)))
    main = outputs.main.replace(heads={"rtd": constant})
    term = objective.loss(outputs.replace(main=main), batch)["rtd"]
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert float(term.sum / term.weight) == pytest.approx(entropy, rel=1e-4)


@pytest.mark.parametrize("tie", ["embeddings", "none", "disentangled"])
def test_the_generator_learns_from_its_own_loss_only(build, tie):
    objective = build("replaced_tokens", **ELECTRA, objective__tie=tie)
    model, params = pairs.composite(objective, embedding_width=16, layers=1)
    batch = jax.jit(objective.corrupt)(jax.random.key(0), pairs.rows([16, 12]))
    from_mlm, from_rtd = pairs.gradients(model, objective, params, batch, ["mlm"], ["rtd"])
    for name in from_mlm:
        part, _, rest = name.partition("/")
        table = rest.startswith(TABLES)
        shared = part == "discriminator" and table and tie == "embeddings"
        learns_mlm, learns_rtd = from_mlm[name].any(), from_rtd[name].any()
        if rest.endswith(("key/bias", "token_type/embedding")):  # a softmax ignores the one, one type is never read
            continue
        assert learns_mlm == (part == "generator" or shared), name
        assert learns_rtd == (part == "discriminator"), name
    if tie == "disentangled":
        assert from_rtd["discriminator/token/delta"].any() and not from_mlm["discriminator/token/delta"].any()


BAD = [
    ({"objective__replaced_task": "find"}, "objective.replaced_task='find' is not one of detect, detect_hidden"),
    ({"objective__tie": "tables"}, "objective.tie='tables' is not one of embeddings, all, none, disentangled"),
    ({"objective__tie": "all"}, "the generator must be as large as the model: set objective.generator_width=1"),
    ({"objective__generator_width": 0.0}, r"objective.generator_width=0.0 must be more than 0 and at most 1"),
    ({"objective__generator_layers": 1.5}, r"objective.generator_layers=1.5 must be more than 0 and at most 1"),
    ({"objective__discriminator_weight": -1.0}, "objective.discriminator_weight=-1.0 must be at least 0"),
    ({"objective__mask_rate": 1.0}, r"objective.mask_rate=1.0 must be more than 0 and less than 1"),
    ({"data__sequence_length": 2}, "at least 3"),
    (
        {"objective__replaced_task": "all_tokens_mlm", "objective__label_smoothing": 0.1},
        "objective.replaced_task=all_tokens_mlm is scored by the likelihood .* set both to 0",
    ),
]


@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_explained(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build("replaced_tokens", **ELECTRA | options)


def test_a_tokenizer_without_a_mask_is_refused(build, tables):
    with pytest.raises(ConfigError, match="needs the special token mask"):
        build("replaced_tokens", tables=tables(mask=None), **ELECTRA)
