"""How text is written: the options of decoding, declared once for generate.py's flags and for what reads them."""

import dataclasses

from cloze.errors import ConfigError
from cloze.options import option

NORMALIZATIONS = ("power", "gnmt")
STOPPING = ("heuristic", "full", "exact")
DRAWING = ("temperature", "top_k", "top_p", "min_p")  # options of drawing, and
SEARCHING = ("beams", "length_penalty", "length_normalization", "early_stopping")  # of beams


class _Several(tuple):
    """As the values that an option must have: 2 and more."""

    def __contains__(self, value):
        return value > 1


_BEAMS = {"beams": _Several(["2 or more"])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How the next token is chosen, and when a text ends. docs/decoding.md says more, with sources."""

    max_tokens: int = option(64, "tokens that are written at most", least=1, most=1_000_000)
    min_tokens: int = option(0, "tokens before which no text ends", least=0)
    temperature: float | None = option(
        None,
        "divides the logits before a token is drawn; 0 takes the most probable token instead; left out: 0, or 1 where "
        "another option asks for drawing",
        least=0,
    )
    top_k: int = option(0, "draw among this many most probable tokens; 0: all", least=0)
    top_p: float = option(1.0, "draw among the most probable tokens that reach this mass together", above=0, most=1)
    min_p: float = option(0.0, "draw among tokens of at least this share of the greatest probability", least=0, most=1)
    repetition_penalty: float = option(1.0, "makes tokens less probable that are there already; 1: off", above=0)
    no_repeat_ngram_size: int = option(0, "no sequence of so many tokens is written twice; 0: off", least=0)
    beams: int = option(1, "texts that a beam search goes on with; 1: no search", least=1, most=1000)
    length_penalty: float = option(
        1.0, "the exponent of the length that divides the log-probability of an ended text", needs=_BEAMS
    )
    length_normalization: str = option(
        "power",
        "of a length n: power: n; gnmt: (5 + n) / 6, as T5's published settings have it",
        choices=NORMALIZATIONS,
        needs=_BEAMS,
    )
    early_stopping: str = option(
        "heuristic",
        "a search ends when: full: as many texts as beams have ended; heuristic: no beam is better at its present "
        "length than the worst of these; exact: none can become better",
        choices=STOPPING,
        needs=_BEAMS,
    )
    num_samples: int = option(1, "texts for each prompt: drawn ones, or the best beams", least=1, most=10_000)
    stop: tuple[str, ...] = option((), "texts before which what is written ends")
    seed: int = option(0, "of what is drawn", least=0, most=2**32 - 1)
    suppressed: tuple[int, ...] = option((), "ids that are never written", least=0)
    forced_bos: int | None = option(
        None, "id of the first token, where a decoder begins with one token (Marian, BART)", least=0
    )
    forced_eos: int | None = option(None, "id of the token that is written last, after max_tokens", least=0)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        return self.scale > 0

    @property
    def scale(self) -> float:
        """The temperature; 0 where nothing is drawn."""
        if self.temperature is not None:
            return self.temperature
        asked = self.top_k or self.top_p < 1 or self.min_p or self.num_samples > 1
        return 1.0 if asked and self.beams == 1 else 0.0

    @property
    def compiled(self) -> "DecodingOptions":
        """What a program depends on: without what is only read beside it."""
        return dataclasses.replace(self, seed=0, stop=())

    def check(self, vocab_size: int) -> None:
        """Refuses options that do not go together; types and ranges are checked by `options.check`.

        Args:
            vocab_size: V of the model.

        Raises:
            ConfigError: names them, and what to do.
        """
        asked = ", ".join(f"--{name}" for name in DRAWING if getattr(self, name) not in (0, getattr(_PLAIN, name)))
        if self.beams > 1 and asked:
            raise ConfigError(
                f"--beams={self.beams} searches for the most probable text and draws nothing: leave out {asked}"
            )
        if self.temperature == 0 and asked:
            raise ConfigError(
                f"--temperature=0 takes the most probable token and draws nothing: leave out {asked}, or raise it"
            )
        if self.num_samples > self.beams and not self.draws:
            what = f"--beams={self.beams} finds as many texts" if self.beams > 1 else "--temperature=0 writes one text"
            raise ConfigError(f"{what}, not --num_samples={self.num_samples}: lower it, or raise the other")
        if self.stop and self.beams > 1:
            raise ConfigError("--stop does not go with --beams: a search ends at ids alone; leave one of them out")
        if "" in self.stop:
            raise ConfigError("--stop= is no text: write one, such as --stop='.', or leave it out")
        if self.min_tokens > self.max_tokens:
            raise ConfigError(
                f"--min_tokens={self.min_tokens} is more than --max_tokens={self.max_tokens}: lower it, or raise the "
                "other"
            )
        for name in ("forced_bos", "forced_eos", "suppressed"):
            value = getattr(self, name)
            for i in value if isinstance(value, tuple) else (value,):
                if i is not None and i >= vocab_size:
                    raise ConfigError(f"--{name}={i} is no id of the vocabulary of {vocab_size}")


_PLAIN = DecodingOptions()
