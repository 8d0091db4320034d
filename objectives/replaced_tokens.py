"""Replaced token detection: find what a small generator has put in (ELECTRA; Clark et al. 2020, arXiv:2003.10555)."""

import dataclasses

import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.composites import ReplacedPair
from cloze.models.composites.generator import put
from cloze.objectives import replacements
from cloze.objectives.base import OBJECTIVES, Term
from cloze.objectives.losses import is_top
from cloze.options import option

# What the main model learns, and the heads that it needs (section 3.4).
TASKS = {
    "detect": ("rtd",),
    "detect_hidden": ("rtd",),
    "replace_mlm": ("mlm",),
    "all_tokens_mlm": ("mlm", "copy"),
}


@OBJECTIVES.register("replaced_tokens")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReplacedTokens(replacements.Generated):
    """The main model learns what a generator has put in.

    The loss is that of the generator plus discriminator_weight times that of the main model. A drawn token that is
    the original counts as original. Where the reference draws places with replacement, and so hides a few fewer, an
    exact count of tokens is hidden, as in masked_lm.
    """

    replaced_task: str = option(
        "detect",
        "what the model learns of the filled text: which of all tokens are replaced (detect), which of the hidden ones "
        "(detect_hidden), what the hidden ones were, the input having draws for [MASK] (replace_mlm), or what all "
        "tokens were, by copying the input or by the vocabulary's softmax (all_tokens_mlm)",
        choices=tuple(TASKS),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.replaced_task == "all_tokens_mlm" and (self.label_smoothing or self.z_loss):
            raise ConfigError(
                f"objective.label_smoothing={self.label_smoothing} and objective.z_loss={self.z_loss}: "
                "objective.replaced_task=all_tokens_mlm is scored by the likelihood of copying or writing a token, "
                "which has neither; set both to 0"
            )

    @property
    def outputs(self):
        """The heads of the main model's task."""
        return TASKS[self.replaced_task]

    def model(self, model_config, **_):
        """The pair; its parts have no frozen bottom, as a generator below them trains."""
        hidden_only = self.replaced_task == "replace_mlm"
        return ReplacedPair(self.generator(model_config), model_config, self.tie, hidden_only)

    def loss(self, outputs, batch):
        """Terms "mlm" of the generator and "rtd" or "main_mlm" of the main model, each with its accuracy.

        "rtd" comes with the share of tokens that are replaced, and precision and recall of finding them. Who says
        "original" everywhere has the entropy of that share as its loss.
        """
        targets, used = batch["targets"], batch["target_weights"]
        terms = self.generator_terms(outputs, batch)
        if self.replaced_task == "replace_mlm":
            main = self.token_terms(outputs.main.logits, targets, used, ("main_mlm", "main_mlm_accuracy"))
            main["main_mlm"] = main["main_mlm"]._replace(coefficient=self.discriminator_weight)
            return terms | main
        if self.replaced_task == "all_tokens_mlm":
            return terms | self._all_tokens(outputs, batch)
        logits, labels, weights = outputs.main.heads["rtd"], outputs.sampled != targets, used
        if self.replaced_task == "detect":
            labels = put(batch, jnp.zeros(logits.shape, bool), labels)
            weights = replacements.real_tokens(batch)
        else:
            logits = jnp.take_along_axis(logits, batch["prediction_positions"], axis=1)
        terms |= replacements.binary_terms(logits, labels, weights, self.discriminator_weight, "rtd")
        return terms | replacements.found_terms(logits, labels, weights)

    def _all_tokens(self, outputs, batch):
        """Every token's identity; accuracy is that of the softmax alone, at the hidden tokens."""
        logits, places = outputs.main.logits, batch["prediction_positions"]
        targets_BT = put(batch, batch["tokens"], batch["targets"])
        losses = replacements.copying_loss(logits, outputs.main.heads["copy"], outputs.tokens, targets_BT)
        real, used = replacements.real_tokens(batch), batch["target_weights"]
        right = is_top(jnp.take_along_axis(logits, places[..., None], axis=1), batch["targets"])
        return {
            "main_mlm": Term(jnp.sum(losses * real), jnp.sum(real), self.discriminator_weight),
            "main_mlm_accuracy": Term(jnp.sum(right * used), jnp.sum(used), 0.0),
        }
