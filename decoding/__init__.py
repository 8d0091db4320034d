"""What is written: continuations of prompts, token by token from a cache, and how probable given ones are."""

from cloze.decoding.cached import for_writing, prefill, step
from cloze.decoding.devices import Devices, to_host
from cloze.decoding.options import DecodingOptions
from cloze.decoding.scoring import continuations, log_probability
from cloze.decoding.writing import Written, advance, begin, write

__all__ = [
    "DecodingOptions", "Devices", "Written", "advance", "begin", "continuations", "for_writing", "log_probability",
    "prefill", "step", "to_host", "write",
]  # fmt: skip
