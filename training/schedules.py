"""Learning rate by step."""

import jax.numpy as jnp

from cloze.errors import ConfigError

SCHEDULES = ("linear", "cosine", "inverse_sqrt", "constant", "slanted_triangular")

FALLING = ("linear", "cosine", "slanted_triangular")  # they end at optimizer.decay_steps


def make_schedule(name, peak, *, warmup_steps, decay_steps, final_fraction):
    """The learning rate as a function of the step, counted from 0.

    linear, cosine, constant: the warm-up rises linearly from peak / warmup_steps at step 0 to the peak at step
    warmup_steps - 1. The linear fall lies on the line from the peak at step 0 to the final value at decay_steps,
    as BERT's reference has it, so that the rate jumps down slightly where warm-up ends; the cosine begins there.
    slanted_triangular: from peak * final_fraction up to the peak at warmup_steps and back at decay_steps, linearly
    (Howard and Ruder 2018, section 3.2: a tenth of the steps is warm-up, the fraction is 1/32).
    inverse_sqrt: peak * sqrt(warmup / max(step, warmup)) (T5: peak 0.01 and warmup 10,000 are 1/sqrt(max(step, 1e4))).

    Args:
        name: one of SCHEDULES.
        peak: highest rate.
        warmup_steps: steps of warm-up; 0: none.
        decay_steps: step at which linear and cosine end, warm-up included.
        final_fraction: their last value as a fraction of the peak.

    Returns:
        A function of an int array, f32.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"optimizer.schedule={name!r} is not one of {', '.join(SCHEDULES)}")
    if name in FALLING and decay_steps <= warmup_steps:
        raise ConfigError(
            f"optimizer.schedule={name} ends at step {decay_steps}, but warm-up lasts until {warmup_steps}: lower "
            "optimizer.warmup_steps or raise optimizer.decay_steps (train.steps)"
        )

    warmup_steps, decay_steps = float(warmup_steps), float(decay_steps)  # in tokens, they may not fit 32 bits

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        if name == "slanted_triangular":
            rising, falling = step / max(warmup_steps, 1), (decay_steps - step) / (decay_steps - warmup_steps)
            return peak * (final_fraction + (1 - final_fraction) * jnp.clip(jnp.minimum(rising, falling), 0, 1))
        if name == "inverse_sqrt":
            return peak * jnp.sqrt(max(warmup_steps, 1) / jnp.maximum(step + 1, max(warmup_steps, 1)))
        if name == "constant":
            rate = jnp.full_like(step, peak)
        elif name == "linear":
            left = 1 - jnp.clip(step / decay_steps, 0, 1)
            rate = peak * (final_fraction + (1 - final_fraction) * left)
        else:
            progress = jnp.clip((step - warmup_steps) / (decay_steps - warmup_steps), 0, 1)
            rate = peak * (final_fraction + (1 - final_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * progress)))
        warm = peak * (step + 1) / max(warmup_steps, 1)
        return jnp.where(step < warmup_steps, warm, rate)

    return schedule
