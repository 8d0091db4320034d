"""Which of several answers counts as a model's own: the most probable one, made comparable in one of a few ways.

`answer` compares log-probabilities of whole answers, `token` and `character` their means over tokens and characters,
for answers of different length (Brown et al. 2020, section 2.4; Gao 2021). `calibrated` divides the probability of each
answer, among the answers, by what it has behind inputs that say nothing, so that what a model likes to say anyway does
not count (Zhao et al. 2021, section 5).
"""

from typing import NamedTuple

import numpy as np

from cloze.errors import ConfigError

SCORINGS = ("auto", "answer", "token", "character", "calibrated")
CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021, section 5
_TEXTS = "text", "text_b", "context", "question"


class AnswerScores(NamedTuple):
    """Of the answers to one example.

    Attributes:
        log_probs: f32 [C], in nats.
        tokens: f32 [C], tokens of each.
    """

    log_probs: np.ndarray
    tokens: np.ndarray


def best(scores, words, how, empty=None):
    """[int], the number of the best answer to each example.

    Args:
        scores: [AnswerScores].
        words: a sequence of str for each example.
        how: one of SCORINGS but "auto".
        empty: of "calibrated": for each example [AnswerScores] behind inputs that say nothing.
    """
    if how == "calibrated":
        shares = [np.mean([_shares(one.log_probs) for one in some], axis=0) for some in empty]
        pairs = zip(scores, shares, strict=True)
        return [int(np.argmax(one.log_probs - np.log(np.maximum(share, 1e-30)))) for one, share in pairs]
    divisors = {
        "answer": lambda one, some: 1,
        "token": lambda one, some: one.tokens,
        "character": lambda one, some: np.array([max(len(word), 1) for word in some]),
    }[how]
    return [int(np.argmax(one.log_probs / divisors(one, some))) for one, some in zip(scores, words, strict=True)]


def _shares(log_probs):
    """Probabilities among the answers, f64 [C]."""
    weights = np.exp(np.asarray(log_probs, np.float64) - np.max(log_probs))
    return weights / weights.sum()


def emptied(prompt, example, nothing, name):
    """A prompt in which something that says nothing stands for the texts of an example.

    Args:
        prompt: `inputs` of an example of kind text.
        example: the example of the task that it was made of.
        nothing: one of CONTENT_FREE.
        name: of the task.

    Raises:
        ConfigError: the prompt does not hold them.
    """
    texts = sorted({example[field] for field in _TEXTS if example.get(field)}, key=len, reverse=True)
    if not texts or any(text not in prompt for text in texts):
        raise ConfigError(
            f"--label_scoring=calibrated needs prompts that hold the texts of their examples, and those of task {name} "
            "write them otherwise: use answer, token or character"
        )
    for text in texts:
        prompt = prompt.replace(text, nothing)
    return prompt
