"""What reads a generator's text: ELECTRA's discriminator and COCO-LM's main model."""

import dataclasses
from typing import Any

import jax
from flax import struct

from cloze.models.build import build
from cloze.models.composites.generator import GeneratorPair


@struct.dataclass
class PairOutputs:
    """What a generator and the main model give.

    Attributes:
        generator_logits: f32 [B, P, V] at the hidden tokens.
        sampled: int32 [B, P], the tokens drawn for them.
        tokens: int32 [B, T], the text with these.
        main: Outputs of the main model.
        crop: [B, D], its state of the first token of another view of the row, or None.
    """

    generator_logits: Any
    sampled: Any
    tokens: Any
    main: Any
    crop: Any = None


class ReplacedPair(GeneratorPair):
    """ELECTRA: the discriminator reads what the generator has filled in (Clark et al. 2020, section 2).

    Args:
        generator, config, tie: see GeneratorPair.
        hidden_only: the discriminator's vocabulary head runs at hidden tokens only.
    """

    def __init__(self, generator, config, tie, hidden_only=False):
        super().__init__(generator, config, "discriminator", tie)
        self.hidden_only = hidden_only

    def apply(self, variables, batch, deterministic=True, rngs=None):
        """PairOutputs of a batch of masked language modelling with `sample_key`; see Composite."""
        params = variables["params"]
        logits_BPV, sampled_BP, filled = self.fill(params, batch, deterministic, rngs)
        view = filled | ({"prediction_positions": batch["prediction_positions"]} if self.hidden_only else {})
        main = self.run(params, self.main, view, deterministic, rngs)
        return PairOutputs(logits_BPV, sampled_BP, filled["tokens"], main)


class CorrectivePair(GeneratorPair):
    """COCO-LM: the main model corrects what the generator has filled in, and reads a crop of the row beside it.

    Args:
        generator, config, tie: see GeneratorPair.
    """

    def __init__(self, generator, config, tie):
        super().__init__(generator, config, "corrector", tie)
        self.states = build(dataclasses.replace(config, heads_out=()))

    def apply(self, variables, batch, deterministic=True, rngs=None):
        """PairOutputs of a batch as for ReplacedPair; `crop_tokens` and `crop_segments` [B, T] are the other view."""
        params = variables["params"]
        logits_BPV, sampled_BP, filled = self.fill(params, batch, deterministic, rngs)
        view = filled | {"prediction_positions": batch["prediction_positions"]}
        outputs = PairOutputs(
            logits_BPV, sampled_BP, filled["tokens"], self.run(params, self.main, view, deterministic, rngs)
        )
        if "crop_tokens" not in batch:
            return outputs
        crop = {"tokens": batch["crop_tokens"], "segments": batch["crop_segments"]}
        # Random bits of its own: with the same dropout, both views would be closer than their texts are.
        rngs = None if rngs is None else {name: jax.random.fold_in(key, len(self.parts)) for name, key in rngs.items()}
        states = self.states.apply({"params": self.part(params, self.main)[1]}, crop, deterministic, rngs=rngs)
        return outputs.replace(crop=states.hidden[:, 0])
