"""The head trains first, then a layer more at a time from the top (Howard and Ruder 2018, arXiv:1801.06146)."""

import dataclasses

from cloze import options
from cloze.errors import ConfigError
from cloze.options import option
from cloze.training.methods.base import EVERYTHING, METHODS, Method, Stage, has_head, stacks


@METHODS.register("gradual")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradual(Method):
    unfreeze: str = option(
        "epochs",
        "the next layer thaws after `unfreeze_every`, or on a plateau of the validation loss",
        choices=("epochs", "plateau"),
    )
    unfreeze_every: options.Duration | None = option(
        None,
        "how long; None: evenly, so that in the second half of the run everything trains",
        needs={"unfreeze": ("epochs",)},
        least=1,
    )
    patience: int = option(2, "validations without improvement that are a plateau", least=1)
    least_improvement: float = option(0.0, "of the validation loss, to count as one", least=0)

    rate = 5e-5
    tiny_rate = 1e-3

    def model_config(self, config):
        self.check_layers(config)
        return config

    def stages(self, config, shapes, steps):
        tops = range(1, max(stacks(shapes).values(), default=0) + 1)
        if has_head(shapes):
            above, head = (), [self.head_rules()]
        else:  # the head is the token table
            above, head = ((r"token/.*", True),), []
        layers = [(*above, *self.top_rules(shapes, lambda layers, top=top: top)) for top in tops]
        rules = [*head, *layers, EVERYTHING]
        return tuple(Stage(*one) for one in zip(rules, self._starts(config, len(rules), steps), strict=True))

    def _starts(self, config, count, steps):
        """The steps at which the stages begin; None for those that wait for a plateau."""
        if self.unfreeze == "plateau":
            return [0] + [None] * (count - 1)
        if self.unfreeze_every is None:  # of a run that is shorter than its schedule, as of the whole
            length = steps("train.steps" if config.optimizer.decay_steps is None else "optimizer.decay_steps")
            return [length * k // (2 * max(count - 1, 1)) for k in range(count)]
        every = steps("finetune.unfreeze_every")
        if every < 1:
            raise ConfigError(f"finetune.unfreeze_every comes to {every} steps; it must be at least 1")
        return [k * every for k in range(count)]

    @classmethod
    def suit(cls, config, tiny):
        """As in sections 3.2 and 3.3; theirs has an epoch for each of four layers."""
        super().suit(config, tiny)
        config.optimizer.update(schedule="slanted_triangular", final_fraction=1 / 32, layer_decay=1 / 2.6)
