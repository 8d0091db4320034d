"""What can be predicted without reading the input, or by a rule that needs no training: to stand beside every score."""

import collections
import math

from cloze.data import sentences
from cloze.tasks import metrics, vectors

_SUMMARIES = {"rouge"}
_TRANSLATIONS = {"bleu", "bleu_intl"}


def baselines(task, split):
    """Trivial predictions for a split, in the form of `metrics.score`.

    What they need to know (the most frequent label, the mean, the frequencies of words) is from the training split.

    Args:
        task: a Task of any kind.
        split: which examples to predict.

    Returns:
        {name: predictions}:
            class, choice: `majority`, the most frequent label or number (of equally frequent ones the first)
            regression: `mean`
            tag: `majority`, and `lexicon`, the most frequent tag of the word's form (majority for unseen words)
            span: `no_answer`, and `first_sentence` of the context
            text: `lead_3` sentences and `first_line` of the inputs (summaries), `copy` of the inputs (translations),
                `majority`, the most frequent target (all others)
            embedding: `shared_words`, vectors that count words, rare ones more (tf-idf)
            ranking: `shortest`, the text of the fewest characters
            cloze: none; what is probable everywhere depends on the pieces of a model
            lm: `unigram`, words or bytes (metrics.units) drawn alone, each as often as in training; one is added to
                every count, and there is one for all that training has not

    Raises:
        DataError: the task lacks the split, or the training split.
    """
    return predictions(task, list(task.examples(split)))


def predictions(task, examples):
    """`baselines` for given examples of the task."""
    return _BASELINES[task.kind](task, examples)


def scores(task, split):
    """{name: {metric: value}} of the baselines on a split."""
    examples = list(task.examples(split))
    return {name: metrics.score(task, answers, examples) for name, answers in predictions(task, examples).items()}


def _most_frequent(values):
    """The most frequent value, or key of a Counter; of several the least."""
    counts = collections.Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _majority(task, examples):
    label = _most_frequent(example["label"] for example in task.examples("train"))
    return {"majority": [label] * len(examples)}


def _mean(task, examples):
    labels = [example["label"] for example in task.examples("train")]
    return {"mean": [math.fsum(labels) / len(labels)] * len(examples)}


def _tags(task, examples):
    names, forms = task.labels(), collections.defaultdict(collections.Counter)
    for example in task.examples("train"):
        for word, tag in zip(example["words"], example["tags"], strict=True):
            forms[word][names[tag]] += 1
    majority = _most_frequent(sum(forms.values(), collections.Counter()))
    lexicon = {word: _most_frequent(counts) for word, counts in forms.items()}
    return {
        "majority": [[majority] * len(example["words"]) for example in examples],
        "lexicon": [[lexicon.get(word, majority) for word in example["words"]] for example in examples],
    }


def _answers(task, examples):
    return {
        "no_answer": [""] * len(examples),
        "first_sentence": [_lead(example["context"], 1) for example in examples],
    }


def _lead(text, count):
    return "".join(sentences.split(text)[:count]).strip()


def _texts(task, examples):
    if _SUMMARIES & set(task.metrics):
        return {
            "lead_3": [_lead(_inputs(example), 3) for example in examples],
            "first_line": [_inputs(example).strip().partition("\n")[0] for example in examples],
        }
    if _TRANSLATIONS & set(task.metrics):
        return {"copy": [_inputs(example) for example in examples]}
    target = _most_frequent(metrics.references(task, example)[0] for example in task.examples("train"))
    return {"majority": [target] * len(examples)}


def _inputs(example):
    """What an answer is given to: of a dialogue the turn before the assistant's last one, "" where there is none."""
    if "inputs" in example:
        return example["inputs"]
    turns = example["turns"]
    last = max(number for number, (role, _) in enumerate(turns) if role == "assistant")
    return turns[last - 1][1] if last else ""


def _unigram(task, examples):
    counts = collections.Counter()
    for example in task.examples("train"):
        counts.update(metrics.units(example["text"], task.units))
    total = counts.total() + len(counts) + 1  # and one that stands for all that training has not
    surprise = collections.defaultdict(lambda: math.log(total))
    surprise |= {unit: math.log(total / (count + 1)) for unit, count in counts.items()}
    last = str(_most_frequent(counts))
    return {
        "unigram": [
            metrics.Likelihood(math.fsum(surprise[unit] for unit in metrics.units(example["text"], task.units)), last)
            for example in examples
        ]
    }


def _shortest(task, examples):
    return {
        "shortest": [metrics.Ranking(tuple(-float(len(text)) for text in example["texts"])) for example in examples]
    }


_BASELINES = {
    "class": _majority,
    "choice": _majority,
    "regression": _mean,
    "tag": _tags,
    "span": _answers,
    "text": _texts,
    "embedding": vectors.shared_words,
    "lm": _unigram,
    "ranking": _shortest,
    "cloze": lambda task, examples: {},
}
