"""What a model answers where it is not asked for a label: which text is more probable, and what fills a blank."""

from cloze.errors import DataError
from cloze.tasks.metrics import Ranking
from cloze.tasks.text_scores import BLANK


def predictions(task, examples, scorer):
    """(the examples that can be judged, a prediction for each).

    Args:
        task: of kind ranking or cloze.
        examples: of it.
        scorer: tasks.text_scores.TextScorer.

    Raises:
        DataError: there is none whose answer is one piece of the vocabulary.
    """
    return (_cloze if task.kind == "cloze" else _ranking)(task, examples, scorer)


def _ranking(task, examples, scorer):
    fitting = iter(scorer.fits([text for example in examples for text in example["texts"]]))
    kept = [one for one in examples if all([next(fitting) for _ in one["texts"]])]
    if len(kept) < len(examples):
        scorer.report(
            f"{task.name}: {len(examples) - len(kept):,} of {len(examples):,} examples are longer than the rows of "
            f"{scorer.length} tokens, or the tokenizer leaves nothing of them: they are left out"
        )
    if not kept:
        raise DataError(
            f"task {task.name}: no example fits rows of {scorer.length} tokens: take a run with a greater "
            "data.sequence_length"
        )
    examples = kept
    scores = iter(scorer.scores([text for example in examples for text in example["texts"]], task.name))
    log_probs = [tuple(next(scores).log_prob for _ in example["texts"]) for example in examples]
    asked = [example for example in examples if "question" in example]
    free = scorer.blanks([one["question"] for one in asked], [one["answers"][0] for one in asked], 5)
    best = {one["id"]: blank.best if blank else () for one, blank in zip(asked, free, strict=True)}
    pairs = zip(examples, log_probs, strict=True)
    return examples, [Ranking(values, best.get(example["id"], ())) for example, values in pairs]


def _cloze(task, examples, scorer):
    found = scorer.blanks([one["text"] for one in examples], [one["answer"] for one in examples])
    kept = [(one, blank) for one, blank in zip(examples, found, strict=True) if blank]
    if len(kept) < len(examples):
        scorer.report(
            f"{task.name}: {len(examples) - len(kept):,} of {len(examples):,} answers are not one piece of the "
            "vocabulary in their place, or their texts are longer than rows or have not one blank: they are left out"
        )
    if not kept:
        raise DataError(
            f"task {task.name}: no answer is one piece of this model's vocabulary, such as "
            f"{examples[0]['answer']!r} in {examples[0]['text'].replace(BLANK, examples[0]['answer'])!r}: give "
            "answers that are"
        )
    return [one for one, _ in kept], [blank for _, blank in kept]
