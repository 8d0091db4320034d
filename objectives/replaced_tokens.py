"""Replaced token detection: find what a small generator has put in (ELECTRA; Clark et al. 2020, arXiv:2003.10555)."""

import dataclasses

import jax.numpy as jnp

from cloze.errors import ConfigError
from cloze.models.composites import ReplacedPair
from cloze.models.composites.generator import put
from cloze.objectives import replacements
from cloze.objectives.base import Term
from cloze.objectives.losses import classification_terms, is_top

# What the main model learns, and the heads that it needs (section 3.4).
TASKS = {
    "detect": ("rtd",),
    "detect_hidden": ("rtd",),
    "replace_mlm": ("mlm",),
    "all_tokens_mlm": ("mlm", "copy"),
}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReplacedTokens(replacements.Generated):
    """The main model learns what a generator has put in.

    The loss is that of the generator plus discriminator_weight times that of the main model. A drawn token that is
    the original counts as original. Where the reference draws places with replacement, and so hides a few fewer, an
    exact count of tokens is hidden, as in masked_lm.

    Attributes:
        task: a key of TASKS. "detect": which of all tokens are replaced; "detect_hidden": which of the hidden ones;
            "replace_mlm": what the hidden ones were, the input having draws for [MASK]; "all_tokens_mlm": what all
            tokens were, by copying the input or by the vocabulary's softmax.
        weight: of the main model's loss.
        label_smoothing, z_loss: of losses over the vocabulary, see `objectives.losses.cross_entropy`.
    """

    task: str
    weight: float
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads rows as masked_lm without pairs does."""
        objective = config.objective
        if objective.replaced_task not in TASKS:
            raise ConfigError(f"objective.replaced_task={objective.replaced_task!r} is not one of {', '.join(TASKS)}")
        if objective.replaced_task == "all_tokens_mlm":
            replacements.check_likelihood(config, "objective.replaced_task=all_tokens_mlm")
        return cls(
            outputs=TASKS[objective.replaced_task],
            task=objective.replaced_task,
            weight=objective.discriminator_weight,
            label_smoothing=objective.label_smoothing,
            z_loss=objective.z_loss,
            **cls.shared(config, tables, model_config),
        )

    def model(self, model_config, **_):
        """The pair; its parts have no frozen bottom, as a generator below them trains."""
        hidden_only = self.task == "replace_mlm"
        return ReplacedPair(self.generator(model_config), model_config, self.tie, hidden_only)

    def corrupt_row(self, key, row):
        """The row with hidden tokens as masked_lm gives it, and the generator's `sample_key` uint32 [2]."""
        return self.hide(key, row)

    def loss(self, outputs, batch):
        """Terms "mlm" of the generator and "rtd" or "main_mlm" of the main model, each with its accuracy.

        "rtd" comes with the share of tokens that are replaced, and precision and recall of finding them. Who says
        "original" everywhere has the entropy of that share as its loss.
        """
        targets, used = batch["targets"], batch["target_weights"]
        options = dict(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        terms = self.generator_terms(outputs, batch, **options)
        if self.task == "replace_mlm":
            names = ("main_mlm", "main_mlm_accuracy")
            main = classification_terms(outputs.main.logits, targets, used, names, **options)
            main["main_mlm"] = main["main_mlm"]._replace(coefficient=self.weight)
            return terms | main
        if self.task == "all_tokens_mlm":
            return terms | self._all_tokens(outputs, batch)
        logits, labels, weights = outputs.main.heads["rtd"], outputs.sampled != targets, used
        if self.task == "detect":
            labels = put(batch, jnp.zeros(logits.shape, bool), labels)
            weights = replacements.real_tokens(batch)
        else:
            logits = jnp.take_along_axis(logits, batch["prediction_positions"], axis=1)
        terms |= replacements.binary_terms(logits, labels, weights, self.weight, "rtd")
        return terms | replacements.found_terms(logits, labels, weights)

    def _all_tokens(self, outputs, batch):
        """Every token's identity; accuracy is that of the softmax alone, at the hidden tokens."""
        logits, places = outputs.main.logits, batch["prediction_positions"]
        targets_BT = put(batch, batch["tokens"], batch["targets"])
        losses = replacements.copying_loss(logits, outputs.main.heads["copy"], outputs.tokens, targets_BT)
        real, used = replacements.real_tokens(batch), batch["target_weights"]
        right = is_top(jnp.take_along_axis(logits, places[..., None], axis=1), batch["targets"])
        return {
            "main_mlm": Term(jnp.sum(losses * real), jnp.sum(real), self.weight),
            "main_mlm_accuracy": Term(jnp.sum(right * used), jnp.sum(used), 0.0),
        }
