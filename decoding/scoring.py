"""How probable given continuations are, in one pass: for a choice among words that stand for labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cloze.errors import DataError


@functools.partial(jax.jit, static_argnames=("model",))
def log_probability(model, params, batch):
    """The log-probability of each row's targets, given what stands before them.

    Args:
        model: has `config` and `apply` as models.Transformer, with the head "lm".
        params: its parameters.
        batch: see models.inputs, with `targets` int32 and `target_weights` f32 [..., T], or [..., P] where there are
            `prediction_positions`. All arrays may have further axes in front, [B, C, ...]: rows and their candidates.

    Returns:
        f32 [...], in nats: the sum over targets, weighted by `target_weights`.
    """
    front = batch["targets"].shape[:-1]
    rows = {key: array.reshape(-1, array.shape[-1]) for key, array in batch.items()}
    inputs = {key: array for key, array in rows.items() if key not in ("targets", "target_weights")}
    logits_NTV = model.apply({"params": params}, inputs).logits
    of_target_NT = jnp.take_along_axis(logits_NTV, rows["targets"][..., None], axis=-1)[..., 0]
    log_probs_NT = of_target_NT - jax.nn.logsumexp(logits_NTV, axis=-1)
    return jnp.sum(log_probs_NT * rows["target_weights"], axis=-1).reshape(front)


def continuations(prompts, candidates, *, architecture, length, pad_id, decoder_start=None, prefix="causal"):
    """A batch for `log_probability` in which every prompt is continued by each of its candidates.

    Args:
        prompts: B arrays of ids.
        candidates: B sequences of C arrays of ids: for each prompt as many, each of at least one id.
        architecture: "decoder" or "encoder_decoder".
        length: tokens of a row: of prompt and candidate in a decoder, of the prompt in an encoder-decoder.
        pad_id: id of padding.
        decoder_start: id with which the decoder of an encoder-decoder begins.
        prefix: "causal" or "full", of decoders.

    Returns:
        dict of numpy arrays [B, C, ...].

    Raises:
        DataError: a prompt does not fit, or there is nothing to continue or to continue with.
    """
    counts = [[len(candidate) for candidate in of_prompt] for of_prompt in candidates]
    most = max(map(max, counts))
    for number, (prompt, of_prompt) in enumerate(zip(prompts, counts, strict=True)):
        # A decoder does not read the last token.
        room = length if architecture == "encoder_decoder" else length - max(of_prompt) + 1
        if not 0 < len(prompt) <= room or not min(of_prompt):
            raise DataError(
                f"prompt {number} has {len(prompt)} tokens and its candidates have {of_prompt}: each needs at least "
                f"one, and beside candidates of up to {max(of_prompt)} a prompt has room for {room}; shorten it, or "
                "raise the length of rows"
            )
    shape = (len(prompts), len(counts[0]))
    place = np.arange(length)
    counts_B1 = np.array([len(prompt) for prompt in prompts], np.int32)[:, None]
    tokens = np.full((*shape, length), pad_id, np.int32)
    targets = np.full((*shape, most), pad_id, np.int32)
    weights = np.zeros((*shape, most), np.float32)
    for b, prompt in enumerate(prompts):
        tokens[b, :, : len(prompt)] = prompt
        for c, candidate in enumerate(candidates[b]):
            targets[b, c, : len(candidate)] = candidate
            weights[b, c, : len(candidate)] = 1
            if architecture == "decoder":
                tokens[b, c, len(prompt) : len(prompt) + len(candidate) - 1] = candidate[:-1]
    batch = {"tokens": tokens, "targets": targets, "target_weights": weights}

    def for_all(array):
        return np.broadcast_to(array[:, None], (*shape, array.shape[-1]))

    if architecture == "encoder_decoder":
        batch["segments"] = for_all((place < counts_B1).astype(np.int32))
        batch["decoder_tokens"] = np.roll(targets, 1, axis=-1)
        batch["decoder_tokens"][..., 0] = decoder_start
        return batch
    batch["prediction_positions"] = for_all(np.minimum(counts_B1 - 1 + np.arange(most), length - 1).astype(np.int32))
    if prefix == "full":
        batch["ranks"] = for_all(np.where(place < counts_B1, 0, place).astype(np.int32))
    return batch
