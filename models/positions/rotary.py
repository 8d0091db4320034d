"""Rotary positions: queries and keys turn with their position (Su et al. 2021, arXiv:2104.09864)."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from cloze.errors import ConfigError
from cloze.models.positions.scheme import SCHEMES, Scheme
from cloze.options import option


@SCHEMES.register("rotary")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary(Scheme):
    """Pairs (i, i + R/2) of the first R features of each head turn by position * frequency i."""

    differing = ("rope_theta", "rope_scaling", "rotary_share")

    rope_theta: float = option(10000.0, "base of the rotary frequencies", above=0)
    rope_scaling: tuple[float, ...] = option(
        (),
        "slower rotations: all by a factor, (factor,), or Llama 3.1's (factor, low_freq_factor, high_freq_factor, "
        "original length); (): none",
        above=0,
    )
    rotary_share: float = option(1.0, "share of each head that turns, from its first feature (NeoX)", least=0, most=1)

    def check(self, config):
        size = self.size(config)
        if size % 2:
            raise ConfigError(
                f"rotary positions turn pairs: the part of a head that turns must be even, got {size} of "
                f"model.head_dim={config.head_dim}"
            )
        if len(self.rope_scaling) not in (0, 1, 4):
            raise ConfigError(
                "model.rope_scaling takes one number, a factor, or four (factor, low_freq_factor, high_freq_factor, "
                f"original length), got {self.rope_scaling}"
            )
        if len(self.rope_scaling) == 4 and not self.rope_scaling[1] < self.rope_scaling[2]:
            raise ConfigError(
                f"model.rope_scaling={self.rope_scaling}: low_freq_factor, the second, must be less than "
                "high_freq_factor, the third"
            )

    def size(self, config):
        """R, the features of a head that turn."""
        return int(config.head_dim * self.rotary_share)

    def frequencies(self, size):
        """Angles per position of the pairs, f32 [R / 2]: theta ** (-2i/R).

        One number of `rope_scaling` divides all of them. With four, waves longer than length / low are slowed down by
        the factor, those shorter than length / high stay, others are blended.
        """
        half = size // 2
        frequencies = np.float32(self.rope_theta) ** (-np.arange(half, dtype=np.float32) / np.float32(half))
        if len(self.rope_scaling) < 4:
            return frequencies / np.float32(self.rope_scaling[0]) if self.rope_scaling else frequencies
        factor, low, high, length = (np.float32(number) for number in self.rope_scaling)
        turns = length * frequencies / np.float32(2 * math.pi)  # within the original length
        kept = np.clip((turns - low) / (high - low), 0, 1)
        return ((1 - kept) * frequencies / factor + kept * frequencies).astype(np.float32)

    def share(self, config, name, causal, placement):
        """(cosines, sines) f32 [B or 1, T, 1, R / 2]."""
        angles = placement.positions[:, :, None, None].astype(jnp.float32) * self.frequencies(self.size(config))
        return jnp.cos(angles), jnp.sin(angles)

    def turn(self, q_BTHE, k_BSKE, shared):
        return _rotate(q_BTHE, *shared), _rotate(k_BSKE, *shared)


def _rotate(x_BTHE, cos, sin):
    half = cos.shape[-1]
    first, second = x_BTHE[..., :half].astype(jnp.float32), x_BTHE[..., half : 2 * half].astype(jnp.float32)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTHE.dtype)
    still = x_BTHE[..., 2 * half :]
    return jnp.concatenate([rotated, still], axis=-1) if still.shape[-1] else rotated
