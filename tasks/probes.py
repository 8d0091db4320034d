"""A few questions that lectures on pretraining put to a model, each with answers that are ranked.

They show what a model has picked up, and are far too few to tell two models apart.
"""

import hashlib
import json

from cloze.errors import DataError
from cloze.tasks.base import Task
from cloze.tasks.text_scores import BLANK

_BLANKS = (  # paradigm, text, the right answer, others
    ("capitals", "Stanford University is located in [MASK], California.", "Stanford", ("Cambridge", "Boston", "Paris")),
    ("capitals", "The capital of France is [MASK].", "Paris", ("London", "Rome", "Berlin", "Madrid")),
    ("capitals", "The capital of Denmark is [MASK].", "Copenhagen", ("London", "Paris", "Oslo", "Stockholm")),
    ("capitals", "The capital of England is [MASK].", "London", ("Copenhagen", "Paris", "Rome", "Berlin")),
    ("sequences", "1, 1, 2, 3, 5, 8, 13, [MASK]", "21", ("14", "18", "20", "26")),
    ("sequences", "2, 4, 6, 8, 10, [MASK]", "12", ("11", "14", "9", "20")),
    ("function words", "I put [MASK] fork down on the table.", "the", ("of", "quickly", "is", "they")),
    ("coreference", "The woman walked across the street, checking for traffic over [MASK] shoulder.", "her",
     ("his", "their", "its")),
    ("reasoning", "Iroh went into the kitchen to make some tea. Standing next to Iroh, Zuko pondered his destiny. Zuko "
     "left the [MASK].", "kitchen", ("tea", "street", "ocean", "school")),
    ("sentiment", "Two hours of popcorn and a drink were the best of it. The movie was [MASK].", "bad",
     ("good", "great", "excellent")),
    ("arithmetic", "3 + 8 + 4 = [MASK]", "15", ("12", "14", "16", "11")),
)  # fmt: skip
_PAIRS = (  # paradigm, the right sentence, the wrong one
    ("agreement", "The keys to the cabinet are on the table.", "The keys to the cabinet is on the table."),
    ("agreement", "The author whom critics admire writes books.", "The author whom critics admire write books."),
    ("reflexives", "The boys saw themselves in the mirror.", "The boys saw himself in the mirror."),
    ("polarity", "No student has ever read this book.", "Every student has ever read this book."),
    ("determiners", "She bought these books yesterday.", "She bought this books yesterday."),
    ("word order", "What did the teacher give to the child?", "What did give the teacher to the child?"),
)


class Probes(Task):
    """The questions, in one split that is called validation."""

    name, kind, metrics = "probes", "ranking", ("ranking",)

    def fingerprint(self):
        return hashlib.sha256(json.dumps([_BLANKS, _PAIRS]).encode()).hexdigest()

    def labels(self):
        return ()

    def examples(self, split):
        if split != "validation":
            raise DataError(f"task probes has no {split} split: it is a few questions, the validation split")
        for number, (paradigm, text, right, others) in enumerate(_BLANKS):
            answers = (right, *others)
            yield {
                "id": f"blank{number + 1}", "paradigm": paradigm, "question": text, "answers": answers, "label": 0,
                "texts": tuple(text.replace(BLANK, answer) for answer in answers),
            }  # fmt: skip
        for number, (paradigm, *texts) in enumerate(_PAIRS):
            yield {"id": f"pair{number + 1}", "paradigm": paradigm, "texts": tuple(texts), "label": 0}


PROBES = Probes()
