"""Supervised classification of rows, with a language model's loss beside it where asked (Radford et al. 2018, 3.2)."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from errors import ConfigError
from objectives.base import (
    Objective,
    Rows,
    check_length,
    check_loss_options,
    check_positions,
    check_special_tokens,
    check_unread,
    padding,
)
from objectives.losses import classification_terms

LANGUAGE_MODELS = ("decoder", "recurrent")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Classification(Objective):
    """One label a row. The most frequent label of the training examples is what a model must beat.

    Attributes:
        num_labels: classes of the model, to hold against those of the task.
        lm_weight: coefficient of the next-token loss; 0: the model has no vocabulary head.
        label_smoothing: of the labels.
        z_loss: of the labels, see `objectives.losses.cross_entropy`.
    """

    architectures = ("encoder", "decoder", "recurrent", "bidirectional_recurrent")
    num_labels: Any
    lm_weight: float
    label_smoothing: float
    z_loss: float

    @classmethod
    def build(cls, config, tables, model_config):
        """Reads labelled examples between [CLS] and [SEP], or with what ends texts behind them where there are none."""
        check_loss_options(config)
        check_unread(config, data__packing="windows", data__validation_source="", objective__pairs="none")
        weight = config.objective.lm_weight
        if not weight >= 0:
            raise ConfigError(f"objective.lm_weight={weight} must be 0 or more (GPT-1: 0.5)")
        if weight and model_config.architecture not in LANGUAGE_MODELS:
            raise ConfigError(
                f"objective.lm_weight={weight} needs a model that reads from left to right, but model.family="
                f"{config.model.family} is of architecture {model_config.architecture}: set objective.lm_weight=0"
            )
        if model_config.num_labels < 2:
            raise ConfigError(f"model.num_labels={model_config.num_labels} must be at least 2 to classify")
        start = () if tables.cls is None else (tables.cls,)
        closing = tables.eos if tables.sep is None else tables.sep
        end = () if closing is None else (closing,)
        if model_config.architecture == "encoder":
            check_special_tokens(config, tables, ("cls", "sep", "pad"), "use tokenizer.kind=wordpiece")
        check_length(config, len(start) + len(end) + 1)
        check_positions(model_config, config.data.sequence_length, "data.sequence_length")
        return cls(
            rows=Rows(
                kind="examples",
                length=config.data.sequence_length,
                start=start,
                end=end,
                pad=padding(tables),
            ),
            outputs=("class", "lm") if weight else ("class",),
            num_labels=model_config.num_labels,
            lm_weight=weight,
            label_smoothing=config.objective.label_smoothing,
            z_loss=config.objective.z_loss,
        )

    def corrupt_row(self, key, row):
        """The row as it is, `label_weights` f32, and with a language model `targets` and `target_weights` [T]."""
        del key  # nothing is drawn
        batch = {name: row[name] for name in ("tokens", "segments", "labels")}
        batch["label_weights"] = jnp.ones((), jnp.float32)
        if "lm" in self.outputs:
            tokens_R = row["tokens"]
            scored_T = jnp.concatenate([row["segments"][1:] > 0, jnp.zeros(1, bool)])
            batch["targets"] = jnp.concatenate([tokens_R[1:], jnp.zeros(1, tokens_R.dtype)])
            batch["target_weights"] = scored_T.astype(jnp.float32)
        return batch

    def loss(self, outputs, batch):
        """Terms "class" and "accuracy" over rows, and "lm" and "lm_accuracy" over tokens."""
        terms = classification_terms(
            outputs.class_logits,
            batch["labels"],
            batch["label_weights"],
            ("class", "accuracy"),
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
        )
        if "lm" in self.outputs:
            lm = classification_terms(outputs.logits, batch["targets"], batch["target_weights"], ("lm", "lm_accuracy"))
            terms |= {name: term._replace(coefficient=self.lm_weight * term.coefficient) for name, term in lm.items()}
        return terms
