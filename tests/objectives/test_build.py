"""A wrong configuration is refused with a message that names the option and the way out."""

import pytest

from cloze import objectives
from cloze.data.rows import Rows
from cloze.errors import ConfigError


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_every_objective_builds_from_the_defaults_with_published_lengths(build, tables, name):
    # 512 tokens hide 28 spans of mean length 3, or 95 where half of them are hidden.
    made, model = tables(sentinels=[*range(8, 40)]), {}
    if name in ("denoising", "ul2"):
        made, model = tables(vocab_size=150, sentinels=[*range(40, 150)]), {"vocab_size": 150}
    objective = build(name, tables=made, data__sequence_length=512, model=model)
    assert isinstance(objective, objectives.OBJECTIVES[name])
    assert isinstance(objective.rows, Rows) and objective.rows.length > 500


BAD = [
    ("masked_ln", {}, "unknown objective.name='masked_ln'; did you mean 'masked_lm'?"),
    (
        "masked_lm",
        {"model": {"architecture": "decoder"}},
        "one of albert, bert, .*xlnet, or objective.name to one of .*causal_lm",
    ),
    (
        "causal_lm",
        {"model": {"architecture": "encoder_decoder"}},
        "one of gemma, .*gpt1, gpt2, .*qwen2.*, or objective.name to one of .*span",
    ),
    (
        "span_corruption",
        {"model": {"architecture": "encoder"}},
        "one of bart, .*t5, transformer.*, or objective.name to one of .*masked_lm",
    ),
    ("masked_lm", {"model": {"vocab_size": 39}}, "model.vocab_size=40"),
    ("masked_lm", {"data__sequence_length": 513}, "model.max_positions=513"),
    ("masked_lm", {"objective__pairs": "next_sentence", "model": {"token_types": 1}}, "needs two token types"),
    ("masked_lm", {"model": {"positions": "transformer_xl"}}, "XLNet predicts with its query stream"),
    ("causal_lm", {"data__sequence_length": 513}, "model.max_positions=513"),
    ("causal_lm", {"data__packing": "documents", "model": {"prompt_length": 4}}, "prompt .* set data.packing=windows"),
    ("causal_lm", {"data__sequence_length": 0}, "at least 1"),
    (
        "causal_lm",
        {"objective__label_smoothing": 1.0},
        r"objective.label_smoothing=1.0 must be at least 0 and less than 1",
    ),
    ("causal_lm", {"objective__z_loss": -1.0}, "objective.z_loss=-1.0"),
    ("masked_lm", {"objective__mask_rate": 0.0}, r"objective.mask_rate=0.0 must be more than 0 and less than 1"),
    ("masked_lm", {"objective__mask_rate": 1.0}, r"objective.mask_rate=1.0 must be more than 0 and less than 1"),
    (
        "masked_lm",
        {"objective__mask_token_share": 1.1},
        r"objective.mask_token_share=1.1 must be at least 0 and at most 1",
    ),
    ("masked_lm", {"objective__random_token_share": 0.3}, "exceed 1 together"),
    ("masked_lm", {"objective__max_predictions": 0}, "at least 1"),
    (
        "masked_lm",
        {"objective__pairs": "next_sentence", "objective__short_pair_rate": 2.0},
        "objective.short_pair_rate",
    ),
    ("masked_lm", {"objective__pairs": "next_sentence", "data__sequence_length": 4}, "at least 5"),
    ("masked_lm", {"data__sequence_length": 2}, "at least 3"),
    ("span_corruption", {"objective__mask_rate": 1.5}, r"objective.mask_rate=1.5 must be more than 0 and less than 1"),
    ("span_corruption", {"objective__mean_span": 0.5}, "objective.mean_span=0.5 must be at least 1"),
    ("span_corruption", {"objective__mean_span": 64.0, "data__sequence_length": 64}, "below data.sequence_length=64"),
    ("span_corruption", {"objective__mean_span": 1.0, "objective__mask_rate": 0.9}, "raise mean_span"),
    ("span_corruption", {"data__sequence_length": 3}, "at least 4"),
    ("span_corruption", {"data__sequence_length": 512}, "need 28 sentinels, the tokenizer has 8"),
    ("span_corruption", {"data__sequence_length": 64, "data__target_length": 13}, "set it to 14 or more"),
    (
        "span_corruption",
        {"data__sequence_length": 64, "objective__final_sentinel": True, "data__target_length": 14},
        "set it to 15 or more",
    ),
]


@pytest.mark.parametrize("name,options,message", BAD)
def test_bad_configurations_are_refused(build, name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)


@pytest.mark.parametrize(
    "name,missing,advice",
    [
        ("masked_lm", "mask", "wordpiece"),
        ("masked_lm", "pad", "wordpiece"),
        ("causal_lm", "eos", "byte_bpe"),
        ("span_corruption", "eos", "tokenizer.sentinels=100"),
        ("span_corruption", "pad", "tokenizer.sentinels=100"),
    ],
)
def test_tokenizers_without_needed_tokens_are_refused(build, tables, name, missing, advice):
    with pytest.raises(ConfigError, match=rf"special token {missing}, .*{advice}"):
        build(name, tables=tables(**{missing: None}))


def test_next_sentence_needs_separators_and_spans_need_sentinels(build, tables):
    with pytest.raises(ConfigError, match="special tokens cls, sep"):
        build("masked_lm", tables=tables(cls=None, sep=None), objective__pairs="next_sentence")
    with pytest.raises(ConfigError, match="the tokenizer has 0: use tokenizer.kind=unigram"):
        build("span_corruption", tables=tables(sentinels=[]), data__sequence_length=16)


def test_only_learned_positions_bound_the_row(build):
    assert (
        build("causal_lm", data__sequence_length=600, model={"positions": "rotary", "longest_row": None}).rows.length
        == 601
    )
