"""What a head is, what it reads, and how a model runs the heads that its configuration names."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax

from cloze.errors import ConfigError
from cloze.models import texts
from cloze.models.heads.transform import Transform
from cloze.models.outputs import Outputs, Padded
from cloze.models.pooling import pool
from cloze.registry import Registry

HEADS = Registry("model.heads_out", __package__)
TRANSFORMERS = ("encoder", "decoder", "encoder_decoder")
RECURRENT = ("recurrent", "bidirectional_recurrent")
TRANSFORM = "head_transform"  # the module that heads share, see Body.transformed


@dataclasses.dataclass(frozen=True)
class Head:
    """A head, as `head` registers it.

    Attributes:
        run: (ModelConfig, Body) -> what the head gives: over the vocabulary outputs.Padded. It is called inside the
            compact method of the model, whose modules it makes.
        modules: names of these modules, at the top of the model's parameters; the last gives the scores.
        reads: int32 [B, P] arrays of the batch that it needs.
        labels: it is for labelled examples. Finetuning begins such a head anew, and it can read kept features.
        rows: it reads `Body.state`, the state of each row, and not the states of tokens.
        each_text: of an example of several texts it scores each; other heads of rows score the sum of their states.
        fields: fields of ModelConfig that only some heads read, this one among them.
        rates: those that are rates of its dropout.
        architectures: what it can stand on.
        excludes: heads that cannot stand beside it.
        check: ModelConfig -> None; raises ConfigError for settings that it cannot have.
    """

    run: Callable[[Any, "Body"], Any]
    modules: tuple[str, ...]
    reads: tuple[str, ...] = ()
    labels: bool = False
    rows: bool = False
    each_text: bool = False
    fields: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    architectures: tuple[str, ...] = TRANSFORMERS
    excludes: tuple[str, ...] = ()
    check: Callable[[Any], None] = lambda config: None


def head(name: str, *modules: str, **facts: Any) -> Callable:
    """A decorator: registers a function as the head of a name; see `Head`."""

    def register(run):
        HEADS.register(name)(Head(run, modules, **facts))
        return run

    return register


@dataclasses.dataclass
class Body:
    """What a model has computed of a batch, for its heads to read.

    Attributes:
        config: ModelConfig.
        outputs: Outputs, whose `heads` are filled in turn.
        batch: see models.inputs; each text is a row of its own.
        deterministic: False draws dropout.
        table: embeddings.Table of the tokens.
        scored: [B, T or P, D] states that heads over the vocabulary score.
        backward: [B, T, D] states of the direction from right to left, if there is one.
        segments: int32 [B, T], 0 for padding, or None.
        texts: texts of each example, or None where an example is a row.
    """

    config: Any
    outputs: Outputs
    batch: dict
    deterministic: bool
    table: Any = None
    scored: Any = None
    backward: Any = None
    segments: Any = None
    texts: int | None = None

    @property
    def hidden(self):
        """[B, T, D] states of tokens."""
        return self.batch.get("features", self.outputs.hidden)

    @functools.cached_property
    def state(self):
        """What heads of rows read: [B, D], of packed texts [B, E, D], of several scored texts [B, C, D]."""
        if "features" in self.batch:
            return self.batch["features"]
        state = pool(self.hidden, self.config, self.segments, self.batch.get("pool_positions"))
        if self.texts is None:
            return state
        each = any(HEADS[name].each_text for name in self.config.heads_out)
        return texts.unfold(state, self.texts) if each else texts.add(state, self.texts)

    def transformed(self, x):
        """[..., D] states as most heads read them: through the layers that they share, if the model has them."""
        return self._transform(x) if self.config.head_transform else x

    @functools.cached_property
    def _transform(self):
        return Transform(self.config, self.config.width, self.config.use_bias, name=TRANSFORM)


def with_heads(run_body: Callable[[dict], Body], config: Any, batch: dict, deterministic: bool) -> Outputs:
    """The Outputs of a model: its body's, and those of the heads that its configuration names.

    Call it inside the model's compact method. Where the batch has `features`, the heads of labelled examples alone run.

    Args:
        run_body: computes the Body of a batch with one text a row.
        config: ModelConfig.
        batch: see models.inputs.
        deterministic: False draws dropout.

    Raises:
        ConfigError: a head needs what the batch has not.
    """
    names, read = config.heads_out, _features(config)
    if "features" in batch:
        body = Body(config, Outputs(), batch, deterministic)
        names = [name for name in names if HEADS[name].labels and HEADS[name].rows == (read == "state")]
    else:
        batch, count = texts.fold(batch)
        body = run_body(batch)
        body.texts = count
    given = body.outputs.heads
    for name in names:
        if missing := set(HEADS[name].reads) - set(batch):
            raise ConfigError(
                f"model.heads_out: {name} needs {', '.join(sorted(missing))} of the batch, which this objective has not"
            )
        scores = HEADS[name].run(config, body)
        unfold = functools.partial(texts.unfold, count=None if HEADS[name].rows else body.texts)
        given[name] = jax.tree.map(unfold, scores)
    padded = {name: scores for name, scores in given.items() if isinstance(scores, Padded)}
    given.update({name: scores.logits for name, scores in padded.items()})
    features = None if read is None else getattr(body, read)
    hidden = texts.unfold(body.outputs.hidden, body.texts)
    return body.outputs.replace(hidden=hidden, padded=padded, features=features)


def _features(config):
    """The attribute of Body that heads of labelled examples read; None: there are none."""
    read = [HEADS[name].rows for name in config.heads_out if HEADS[name].labels]
    return None if not read else "state" if any(read) else "hidden"


def check_heads(config: Any) -> None:
    """Refuses heads that are not registered, that the architecture cannot have, or that do not go together.

    Raises:
        ConfigError: which, and what there is.
    """
    for name in config.heads_out:
        if config.architecture not in HEADS[name].architectures:
            known = [other for other, head in HEADS.items() if config.architecture in head.architectures]
            raise ConfigError(
                f"model.heads_out: architecture {config.architecture} has no head {name}; it has "
                f"{', '.join(known) or 'none'}"
            )
        for other in set(HEADS[name].excludes) & set(config.heads_out):
            raise ConfigError(f"model.heads_out: {name} and {other} cannot stand together, they give the same output")
        HEADS[name].check(config)


def head_modules() -> tuple[str, ...]:
    """Names of the modules of all heads, at the top of a model's parameters."""
    return _unique(((TRANSFORM,), *(head.modules for head in HEADS.values())))


def head_pattern() -> str:
    """A pattern of the names of the parameters of all heads."""
    return _pattern(head_modules())


def label_pattern(*, last: bool = False) -> str:
    """A pattern of the names of the parameters of heads for labelled examples, which do not come from pretraining.

    Args:
        last: only of the modules that give the scores, not of the pooler and the layers under them.
    """
    modules = [head.modules for head in HEADS.values() if head.labels]
    return _pattern(_unique([names[-1:] for names in modules] if last else ((TRANSFORM,), *modules)))


def _unique(groups):
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _pattern(modules):
    return f"({'|'.join(modules)})/.*"
