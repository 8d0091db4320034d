"""What is written: continuations of prompts, token by token from a cache, and how probable given ones are."""

from cloze.decoding.cached import for_writing, prefill, step
from cloze.decoding.greedy import greedy
from cloze.decoding.scoring import continuations, log_probability

__all__ = ["continuations", "for_writing", "greedy", "log_probability", "prefill", "step"]
