"""GPT-1, GPT-2, GPT-NeoX, Llama and its relatives, BART, Marian and T5 against their PyTorch classes.

See tests.parity.harness. Padding is token 1, at the left for some decoders: their positions are then given to both
sides, counted from the mask as transformers' generate() does, because a plain forward call of theirs would count
padding.
"""

import numpy as np
import torch

from tests.parity.harness import Case

PADDING, END, START = 1, 2, 3  # ids; all other tokens are larger
_GPT2 = dict(n_embd=48, n_layer=3, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0, pad_token_id=PADDING)
_GPT2_ODD = dict(
    _GPT2, n_embd=35, n_layer=2, n_head=5, n_inner=54, n_positions=23, activation_function="relu",
    scale_attn_weights=False, layer_norm_epsilon=1e-3,
)  # fmt: skip
_GPT1 = dict(n_embd=48, n_layer=3, n_head=4, n_positions=32, pad_token_id=PADDING)
_GPT1_ODD = dict(_GPT1, n_embd=35, n_layer=2, n_head=5, n_positions=23, afn="silu", layer_norm_epsilon=1e-3)
_NEOX = dict(
    hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=32,
    rotary_pct=0.5, pad_token_id=PADDING, bos_token_id=0, eos_token_id=END,
)  # fmt: skip
_NEOX_ODD = dict(
    _NEOX, hidden_size=50, intermediate_size=54, num_hidden_layers=2, num_attention_heads=5, hidden_act="relu",
    rotary_pct=0.25, rotary_emb_base=300.0, layer_norm_eps=1e-3,
)  # fmt: skip
_LLAMA = dict(
    hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
    max_position_embeddings=32, pad_token_id=PADDING, bos_token_id=0, eos_token_id=END,
)  # fmt: skip
# Three query heads to one of keys, heads of another size than width / heads.
_LLAMA_ODD = dict(
    _LLAMA, hidden_size=42, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
    head_dim=10, hidden_act="gelu", rms_norm_eps=1e-3,
)  # fmt: skip
_LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)  # fmt: skip
_GEMMA2 = _LLAMA | dict(
    head_dim=12, sliding_window=5, query_pre_attn_scalar=9, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
)  # fmt: skip
# Layers with a window in other places, no caps, untied.
_GEMMA2_ODD = _LLAMA_ODD | dict(
    hidden_activation="gelu", sliding_window=7, query_pre_attn_scalar=20, attn_logit_softcapping=None,
    final_logit_softcapping=None, layer_types=["full_attention", "sliding_attention"], tie_word_embeddings=False,
)  # fmt: skip
_LINEAR = {"rope_type": "linear", "factor": 4.0}
_GEMMA3 = _LLAMA | dict(
    head_dim=12, sliding_window=5, query_pre_attn_scalar=9,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_theta": 3000.0, **_LINEAR},
    },
)  # fmt: skip
_GEMMA3_ODD = _LLAMA_ODD | dict(
    num_hidden_layers=4, hidden_activation="relu", sliding_window=7, query_pre_attn_scalar=20, attention_bias=True,
    final_logit_softcapping=3.0, sliding_window_pattern=3, tie_word_embeddings=False,
)  # fmt: skip
_SEQ2SEQ = dict(
    d_model=48, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=96, decoder_ffn_dim=96, max_position_embeddings=32, pad_token_id=PADDING, eos_token_id=END,
    decoder_start_token_id=START, forced_eos_token_id=END,
)  # fmt: skip
_SEQ2SEQ_ODD = dict(
    _SEQ2SEQ, d_model=30, encoder_layers=3, decoder_layers=1, encoder_attention_heads=5, decoder_attention_heads=5,
    encoder_ffn_dim=50, decoder_ffn_dim=50, max_position_embeddings=23, scale_embedding=True,
    activation_function="gelu_new",
)  # fmt: skip
_T5 = dict(
    d_model=48, d_kv=12, d_ff=96, num_layers=2, num_decoder_layers=3, num_heads=4, pad_token_id=PADDING,
    eos_token_id=END, decoder_start_token_id=START,
)  # fmt: skip
_T5_ODD = dict(
    _T5, d_model=35, d_kv=6, d_ff=50, num_layers=3, num_decoder_layers=1, num_heads=5, relative_attention_num_buckets=8,
    relative_attention_max_distance=12, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-3,
)  # fmt: skip
# Constants that transformers looks for in a bare MarianModel, and makes anew.
_SINUSOIDS = ("encoder.embed_positions.weight", "decoder.embed_positions.weight")


def _padded(inputs):
    """Tokens outside the mask are padding, by which some classes find the last real token."""
    return inputs | {"input_ids": np.where(inputs["attention_mask"] == 0, PADDING, inputs["input_ids"])}


def padded(inputs, rng):
    return _padded(inputs)


def positioned(inputs, rng):
    positions = np.maximum(np.cumsum(inputs["attention_mask"], axis=1) - 1, 0)
    return _padded(inputs) | {"position_ids": positions}


def with_positions(batch, inputs):
    return batch | {"positions": inputs["position_ids"].astype(np.int32)}


def choosing(inputs, rng):
    """Any real token may stand for the row of a choice."""
    lengths = inputs["attention_mask"].sum(1)
    return _padded(inputs) | {"mc_token_ids": rng.integers(0, lengths)}


def with_places(batch, inputs):
    return batch | {"pool_positions": inputs["mc_token_ids"].astype(np.int32)}


def ended(inputs, rng):
    """Two </s> in each row, one of them its last token; the decoder's tokens are left to transformers."""
    inputs = _padded(inputs)
    ids, rows = inputs["input_ids"].copy(), np.arange(len(inputs["input_ids"]))
    ids[rows, inputs["attention_mask"].sum(1) - 1] = END
    ids[:, 1] = END
    return inputs | {"input_ids": ids}


def with_shifted(batch, inputs):
    """What transformers makes of them."""
    ids = inputs["input_ids"].astype(np.int32)
    shifted = np.concatenate([np.full_like(ids[:, :1], START), ids[:, :-1]], axis=1)
    last = ids.shape[1] - 1 - np.argmax(ids[:, ::-1] == END, axis=1)
    return batch | {"decoder_tokens": shifted, "pool_positions": last.astype(np.int32)}


def make_marian(module):
    """Makes buffers of the tables of sinusoids, which stay, and a parameter of the bias, a buffer of zeros."""
    for stack in (module.get_encoder(), module.get_decoder()):
        table = stack.embed_positions
        values = table.weight.detach()
        del table.weight
        table.register_buffer("weight", values, persistent=False)
    if hasattr(module, "final_logits_bias"):
        zeros = module.final_logits_bias
        del module.final_logits_bias
        module.final_logits_bias = torch.nn.Parameter(zeros)


def _decoder(names, tiny, odd):
    """The classes of a decoder: tiny with padding at the right, odd with padding at the left."""
    left = dict(padding="left", inputs=positioned, batch=with_positions)
    found = []
    for name in names:
        labels = {"num_labels": 2} if "QuestionAnswering" in name else {}
        checked = "LMHead" in name or "CausalLM" in name
        if "DoubleHeads" in name:
            found += [
                Case(name, "tiny", tiny, padding="none"),
                Case(name, "odd", odd, length=23, inputs=choosing, batch=with_places),
            ]
            continue
        found += [
            Case(name, "tiny", tiny | labels, inputs=padded, length=14, gradients=checked, bfloat16=checked),
            Case(name, "odd, padded at the left", odd | labels, length=23, **left),
        ]
    return found


def _two_stacks(names, tiny, odd, **settings):
    """The classes of an encoder-decoder; classes of rows are given no tokens for the decoder."""
    found = []
    for name in names:
        encoder_only = "TokenClassification" in name or "EncoderModel" in name
        labels = {"num_labels": 2} if "QuestionAnswering" in name else {}
        checked = "ConditionalGeneration" in name or "MTModel" in name
        if "SequenceClassification" in name:
            given = {shape: dict(inputs=ended, batch=with_shifted) for shape in ("tiny", "odd")}
        else:
            lengths = (0, 0) if encoder_only else (9, 17)
            given = {s: dict(decoder_length=n) for s, n in zip(("tiny", "odd"), lengths, strict=True)}
        found += [
            Case(name, "tiny", tiny | labels, gradients=checked, bfloat16=checked, **given["tiny"], **settings),
            Case(name, "odd", odd | labels, length=21, **given["odd"], **settings),
        ]
    return found


def _gpt(prefix, *heads):
    return [
        f"{prefix}{head}" for head in ("LMHeadModel", "DoubleHeadsModel", "Model", "ForSequenceClassification", *heads)
    ]


def _llama(prefix, *heads):
    return [
        f"{prefix}{head}"
        for head in ("ForCausalLM", "Model", "ForSequenceClassification", "ForTokenClassification", *heads)
    ]


_SPANS = "ForQuestionAnswering"
_UNTIED, _TIED = {"tie_word_embeddings": False}, {"tie_word_embeddings": True}
_UPPER = dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)  # windows in all layers but the first
CASES = [
    *_decoder(_gpt("OpenAIGPT"), _GPT1, _GPT1_ODD),
    *_decoder(_gpt("GPT2", "ForTokenClassification", _SPANS), _GPT2, _GPT2_ODD),
    *_decoder(_llama("GPTNeoX", _SPANS), _NEOX, _NEOX_ODD | _TIED),
    *_decoder(_llama("Llama", _SPANS), _LLAMA, _LLAMA_ODD | _TIED),
    *_decoder(_llama("Mistral", _SPANS), _LLAMA, _LLAMA_ODD | _TIED | {"sliding_window": 5}),
    *_decoder(_llama("Gemma"), _LLAMA | {"head_dim": 12}, _LLAMA_ODD | _UNTIED | {"num_key_value_heads": 1}),
    *_decoder(_llama("Qwen2", _SPANS), _LLAMA, _LLAMA_ODD | _TIED),
    *_decoder(
        _llama("Qwen3", _SPANS), _LLAMA | {"head_dim": 12}, _LLAMA_ODD | _TIED | _UPPER | {"attention_bias": True}
    ),
    *_decoder(
        ("Olmo2ForCausalLM", "Olmo2Model", "Olmo2ForSequenceClassification"), _LLAMA,
        _LLAMA_ODD | _TIED | {"attention_bias": True},
    ),
    *_decoder(_llama("Gemma2"), _GEMMA2, _GEMMA2_ODD),
    *_decoder(("Gemma3ForCausalLM", "Gemma3TextModel", "Gemma3TextForSequenceClassification"), _GEMMA3, _GEMMA3_ODD),
    Case("OpenAIGPTLMHeadModel", "untied", _GPT1 | _UNTIED, inputs=padded),
    Case("OpenAIGPTDoubleHeadsModel", "untied", _GPT1 | _UNTIED, padding="none"),
    Case("GPT2LMHeadModel", "untied", _GPT2 | _UNTIED, inputs=padded),
    Case("GPTNeoXForCausalLM", "one after the other", _NEOX | {"use_parallel_residual": False}),
    Case("GPTNeoXForCausalLM", "no biases of attention", _NEOX | {"attention_bias": False}),
    Case("LlamaForCausalLM", "llama3", _LLAMA | {"rope_parameters": _LLAMA3 | {"rope_theta": 300.0}}, length=31),
    Case("LlamaForCausalLM", "linear", _LLAMA | {"rope_parameters": _LINEAR | {"rope_theta": 300.0}}, length=31),
    Case("LlamaForCausalLM", "biases", _LLAMA | {"attention_bias": True, "mlp_bias": True}),
    Case("LlamaForCausalLM", "biases of attention", _LLAMA | {"attention_bias": True}, padding="none"),
    Case("LlamaForCausalLM", "biases of feed-forward", _LLAMA | {"mlp_bias": True}, padding="none"),
    Case("MistralForCausalLM", "no window", _LLAMA | {"sliding_window": None}, padding="none"),
    Case("GemmaForCausalLM", "biases of attention", _LLAMA | {"attention_bias": True, "head_dim": 6}),
    Case(
        "Qwen2ForCausalLM", "window", _LLAMA | dict(use_sliding_window=True, sliding_window=5, max_window_layers=0),
        length=23,
    ),
    Case(
        "Qwen2ForCausalLM", "window in odd layers",
        _LLAMA | dict(
            use_sliding_window=True, sliding_window=5,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
        ),
        length=23,
    ),
    Case("Qwen2ForCausalLM", "window in upper layers", _LLAMA | _UPPER, length=23),
    *_two_stacks(
        ("BartForConditionalGeneration", "BartModel", "BartForSequenceClassification", "BartForQuestionAnswering"),
        _SEQ2SEQ, _SEQ2SEQ_ODD,
    ),
    Case("BartForConditionalGeneration", "no bias over the vocabulary", _SEQ2SEQ, decoder_length=9),
    Case("BartForConditionalGeneration", "padded at the left", _SEQ2SEQ, decoder_length=9, padding="left"),
    *_two_stacks(
        ("MarianMTModel", "MarianModel"), _SEQ2SEQ | {"activation_function": "relu", "scale_embedding": True},
        _SEQ2SEQ_ODD | {"scale_embedding": False}, prepare=make_marian, ignored=_SINUSOIDS,
    ),
    *_two_stacks(
        (
            "T5ForConditionalGeneration", "T5Model", "T5EncoderModel", "T5ForSequenceClassification",
            "T5ForTokenClassification", "T5ForQuestionAnswering",
        ),
        _T5, _T5_ODD,
    ),
    Case("T5ForConditionalGeneration", "unscaled logits", _T5 | _UNTIED, decoder_length=9),
    Case("T5ForConditionalGeneration", "gated silu", _T5 | {"feed_forward_proj": "gated-silu"}, decoder_length=9),
]  # fmt: skip
