"""Gemma 3's language model: Gemma 2 with query-key norms in place of caps on scores, and two kinds of rotations.

Its releases of 4B and more hold this model inside one with vision, which is not read.
"""

from cloze.interop import patterns
from cloze.interop.format import Format
from cloze.interop.formats import gemma2, llama


def _read(settings, tensors):
    """Older files keep the rotations of full layers in `rope_theta` and `rope_scaling`."""
    rotary = settings.get("rope_parameters") or {}
    full = {"rope_theta": settings.get("rope_theta", 1e6), **(rotary.get(patterns.FULL) or {})}
    sliding = {"rope_theta": settings.get("rope_local_base_freq", 1e4), **(rotary.get(patterns.SLIDING) or {})}
    full |= settings.get("rope_scaling") or {}
    return {
        **gemma2.read(settings, tensors, final_cap=None),
        **gemma2.read_layers(
            settings,
            settings.get("sliding_window_pattern", 6),
            llama.read_rotary(full, settings),
            llama.read_rotary(sliding, settings),
        ),
    }


def _write(config):
    blocks = patterns.blocks(config)
    rotary = {kind: llama.write_rotary(block.positions) for kind, block in blocks.items()}
    made = {**gemma2.write(config), "rope_parameters": rotary}
    if patterns.FULL in blocks:
        made |= llama.write_old_rotary(blocks[patterns.FULL].positions)
    if patterns.SLIDING in blocks:
        made["rope_local_base_freq"] = rotary[patterns.SLIDING]["rope_theta"]
    return made


_CLASSES = llama.classes("Gemma3Text", without=("tag", "span"))

FORMAT = Format(
    model_type="gemma3_text",
    families=("gemma3",),
    preset="1b",
    base="model.",
    classes={name.replace("TextForCausalLM", "ForCausalLM"): known for name, known in _CLASSES.items()},
    fields=gemma2.fields(vocab_size=262208, max_position_embeddings=131072),
    names=llama.names(*gemma2.NORMS, *llama.QUERY_KEY_NORMS),
    fixed={**gemma2.FIXED, "attn_logit_softcapping": (None,)},
    copies=llama.COPIES,
    ignored=llama.IGNORED,
    read=_read,
    write=_write,
)
