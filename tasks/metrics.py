"""What predictions are worth: every metric of the benchmarks, by name, from the library that defines it.

Shares (accuracy, F1, exact match) and correlations are fractions, as their libraries give them: 0 to 1, -1 to 1. ROUGE
and BLEU are 0 to 100, as papers print them. A metric imports its library itself: all together they take seconds.
"""

import collections
import dataclasses
import functools
import itertools
import math
import warnings

import numpy as np

from cloze.data import sentences
from cloze.errors import DataError
from cloze.tasks import squad

ROUGES = ("rouge1", "rouge2", "rougeLsum")
NO_RELATION, OTHER = "no_relation", "Other"  # TACRED's and SemEval-2010's name for none of the relations
UNKNOWN_NUMBER = -1.0  # what counts for an answer that is no number (T5)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A prediction for a text (kind lm).

    Attributes:
        nats: negative log-likelihood of the whole text (or of what the task counts, see `units`), summed.
        last_word: the word that a model ends the text with, where it is asked to.
        tokens: that were predicted; 0: what predicts has no tokens.
    """

    nats: float
    last_word: str | None = None
    tokens: int = 0


def accuracy(predictions, references):
    """Share of equal pairs."""
    return {"accuracy": float(np.mean([p == r for p, r in zip(predictions, references, strict=True)]))}


def f1(predictions, references):
    """F1 of class 1; 0 where nothing is of that class."""
    import sklearn.metrics

    predictions = _known(predictions, references, 2)
    return {"f1": float(sklearn.metrics.f1_score(references, predictions, zero_division=0.0))}


def f1_macro(predictions, references):
    """Mean of the classes' F1, over all classes that are predicted or right somewhere."""
    import sklearn.metrics

    answers = [f"{prediction}" for prediction in predictions]  # an unknown answer is a class that is never right
    names = [f"{reference}" for reference in references]
    labels = sorted({*answers, *names} - {"None"})
    value = sklearn.metrics.f1_score(names, answers, labels=labels, average="macro", zero_division=0.0)
    return {"f1_macro": float(value)}


def relation_f1_micro(predictions, references):
    """F1 of all relations together, pairs that have none counting only where one is predicted (Zhang et al. 2017).

    Args:
        predictions, references: names of relations, "no_relation" among them.
    """
    labels = sorted({name for name in (*predictions, *references) if name not in (None, NO_RELATION)})
    return {"relation_f1_micro": _f1_of(labels, predictions, references) if labels else 0.0}


def relation_f1_macro(predictions, references):
    """Mean F1 of SemEval-2010's relations but Other: its official "(9+1)-way" score (Hendrickx et al. 2010, section 4).

    Both directions of a relation are one class, in which the wrong direction is a wrong answer.

    Args:
        predictions, references: names such as "Cause-Effect(e2,e1)" and "Other".
    """
    relations = sorted({name.partition("(")[0] for name in references} - {OTHER})
    both = [[f"{relation}({direction})" for direction in ("e1,e2", "e2,e1")] for relation in relations]
    scores = [_f1_of(labels, predictions, references) for labels in both]
    return {"relation_f1_macro": float(np.mean(scores)) if scores else 0.0}


def _f1_of(labels, predictions, references):
    """F1 of the counts of some labels, added up."""
    import sklearn.metrics

    predictions = [f"{prediction}" for prediction in predictions]  # an unknown answer is of no label
    return float(sklearn.metrics.f1_score(references, predictions, labels=labels, average="micro", zero_division=0.0))


def matthews(predictions, references):
    """Matthews' correlation; 0 where all predictions are the same."""
    import sklearn.metrics

    predictions = _known(predictions, references, max(references) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a table that has one class: the value is 0
        return {"matthews": float(sklearn.metrics.matthews_corrcoef(references, predictions))}


def _known(predictions, references, classes):
    """Predictions in which a wrong class stands for None, so that it counts as wrong."""
    return [
        (reference + 1) % max(2, classes) if prediction is None else prediction
        for prediction, reference in zip(predictions, references, strict=True)
    ]


def pearson(predictions, references):
    """Pearson's correlation; NaN where one side is constant."""
    import scipy.stats

    return {"pearson": _correlation(scipy.stats.pearsonr, predictions, references)}


def spearman(predictions, references):
    """Spearman's rank correlation; NaN where one side is constant."""
    import scipy.stats

    return {"spearman": _correlation(scipy.stats.spearmanr, predictions, references)}


def _correlation(function, predictions, references):
    import scipy.stats

    predictions = [UNKNOWN_NUMBER if prediction is None else prediction for prediction in predictions]
    if len(references) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)
        return float(function(predictions, references).statistic)


def entity_f1(predictions, references):
    """F1 of entities by their types and ends: seqeval's default reading of BIO tags, which is conlleval's.

    Args:
        predictions, references: lists of lists of tags ("B-PER", "I-PER", "O"), as long.
    """
    import seqeval.metrics

    return {"entity_f1": float(seqeval.metrics.f1_score(references, predictions, zero_division=0))}


def rouge(predictions, references):
    """Mean F-measures of ROUGE-1, ROUGE-2 and ROUGE-Lsum with Porter's stemmer, times 100 (Lin 2004).

    ROUGE-Lsum compares sentence by sentence: texts are cut at line breaks and where sentences end.

    Args:
        predictions: strings.
        references: a sequence of strings for each; the best counts, for each measure alone.
    """
    from rouge_score import rouge_scorer

    scorer, totals = rouge_scorer.RougeScorer(ROUGES, use_stemmer=True), collections.Counter()
    for prediction, mine in zip(predictions, references, strict=True):
        scores = scorer.score_multi([_lines(reference) for reference in mine], _lines(prediction))
        totals.update({name: 100.0 * scores[name].fmeasure for name in ROUGES})
    return {name: totals[name] / len(predictions) for name in ROUGES}


def _lines(text):
    return "\n".join(piece.strip() for piece in sentences.split(text))


def bleu(predictions, references, tokenize="13a"):
    """Corpus BLEU with sacrebleu's settings, 0 to 100 (Post 2018).

    Args:
        predictions: strings.
        references: a sequence of strings for each.
        tokenize: "13a" (mteval-v13a, WMT's) or "intl" (mteval-v14's international one).
    """
    import sacrebleu

    most = max(map(len, references))
    streams = [[mine[number] if number < len(mine) else None for mine in references] for number in range(most)]
    return {"bleu": float(sacrebleu.corpus_bleu(list(predictions), streams, tokenize=tokenize).score)}


def bleu_intl(predictions, references):
    """BLEU with the international tokenisation, which T5 reports (Raffel et al. 2020)."""
    return {"bleu_intl": bleu(predictions, references, tokenize="intl")["bleu"]}


def exact_match(predictions, references, normalize=squad.normalize):
    """Share of answers that one of their references equals when both are normalised.

    Args:
        predictions: strings.
        references: a sequence of strings for each.
        normalize: squad.normalize (Natural Questions and WebQuestions, as Lee et al. 2019 score them) or
            squad.normalize_trivia_qa.
    """
    right = [
        normalize(prediction) in map(normalize, mine) for prediction, mine in zip(predictions, references, strict=True)
    ]
    return {"exact_match": float(np.mean(right))}


def answers(predictions, references):
    """Exact match and F1 of SQuAD's script (1.1 and 2.0); also ReCoRD's, which is the same over entities.

    Args:
        predictions: strings, "" for no answer.
        references: a sequence of strings for each, empty where there is no answer.
    """
    scores = [squad.score_answer(*pair) for pair in zip(predictions, references, strict=True)]
    exact, score = np.mean(scores, axis=0)
    return {"f1": float(score), "exact_match": float(exact)}


def multirc(predictions, references, groups):
    """F1 over all answers (F1a), and the share of questions all of whose answers are judged rightly (SuperGLUE).

    Args:
        predictions, references: 0 or 1 for each answer.
        groups: which question each answer belongs to.
    """
    questions = collections.defaultdict(list)
    for prediction, reference, group in zip(predictions, references, groups, strict=True):
        questions[group].append(prediction == reference)
    exact = float(np.mean([all(right) for right in questions.values()]))
    return {"f1a": f1(predictions, references)["f1"], "exact_match": exact}


def perplexity(predictions, references):
    """exp(nats / words), whatever the tokens of a model are.

    Args:
        predictions: Likelihoods.
        references: how many words each text counts for (see `units`).
    """
    return {"perplexity": math.exp(sum(prediction.nats for prediction in predictions) / sum(references))}


def bits_per_character(predictions, references):
    """Negative log-likelihood to the base of 2 per character; arguments as those of `perplexity`."""
    nats = sum(prediction.nats for prediction in predictions)
    return {"bits_per_character": nats / math.log(2.0) / sum(references)}


def per_unit(predictions, references):
    """The likelihood of texts by every unit: perplexities per token, word and byte, bits per byte and per character.

    Only those by words, bytes and characters compare between tokenizers. A word is what white space separates, a
    character one of Unicode.

    Args:
        predictions: Likelihoods.
        references: texts.
    """
    nats = sum(prediction.nats for prediction in predictions)
    counts = {
        "token": sum(prediction.tokens for prediction in predictions),
        "word": sum(len(text.split()) for text in references),
        "byte": sum(len(text.encode()) for text in references),
        "character": sum(map(len, references)),
    }
    means = {name: nats / count if count else math.nan for name, count in counts.items()}
    found = {f"{name}_perplexity": _exp(means[name]) for name in ("token", "word", "byte")}
    return found | {f"bits_per_{name}": means[name] / math.log(2.0) for name in ("byte", "character")}


def _exp(nats):
    """e^x, infinite where that is too large for a float."""
    return math.inf if nats > 700 else math.exp(nats)


def last_word_accuracy(predictions, references):
    """Share of texts whose last word is predicted (LAMBADA, Paperno et al. 2016).

    Args:
        predictions: Likelihoods.
        references: texts.
    """
    right = [p.last_word == last_word(text)[1] for p, text in zip(predictions, references, strict=True)]
    return {"last_word_accuracy": float(np.mean(right))}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A prediction for texts that are compared (kind ranking).

    Attributes:
        log_probs: of each text, in nats.
        best: ((piece, probability), ...) that the model would put into the blank, where the texts differ in one.
    """

    log_probs: tuple[float, ...]
    best: tuple[tuple[str, float], ...] = ()

    def rank(self, label):
        """The place of a text, from 1; of equally probable ones the last, so that a tie is no success."""
        return sum(value >= self.log_probs[label] for value in self.log_probs)


def ranking(predictions, references):
    """Share of examples whose right text is the most probable, and the mean of 1 / its rank.

    Args:
        predictions: Rankings.
        references: number of the right text.
    """
    ranks = [p.rank(r) for p, r in zip(predictions, references, strict=True)]
    return {"accuracy": float(np.mean([rank == 1 for rank in ranks])), "reciprocal_rank": _reciprocal(ranks)}


def retrieval(predictions, references):
    """How often a positive is the nearest text, or among the ten nearest, and the mean of 1 / its rank.

    Args:
        predictions: int, the rank of each anchor's positive among the texts of the split, from 1.
        references: not read.
    """
    del references
    recall = {f"recall_at_{most}": float(np.mean([rank <= most for rank in predictions])) for most in (1, 10)}
    return recall | {"reciprocal_rank": _reciprocal(predictions)}


def minimal_pairs(predictions, references):
    """Share of pairs whose right sentence is the more probable (Warstadt et al. 2020, section 4); as `ranking`."""
    return {"accuracy": ranking(predictions, references)["accuracy"]}


def cloze(predictions, references):
    """Precision at 1 and at 10 and the mean reciprocal rank (Petroni et al. 2019, section 4.4).

    Args:
        predictions: text_scores.Blanks.
        references: the answers, of which the ranks are.
    """
    ranks = [prediction.rank for prediction in predictions]
    precision = {f"precision_at_{most}": float(np.mean([rank <= most for rank in ranks])) for most in (1, 10)}
    return precision | {"reciprocal_rank": _reciprocal(ranks)}


def _reciprocal(ranks):
    return float(np.mean([1 / rank for rank in ranks]))


def last_word(text):
    """Cuts a text into (what stands before its last word, that word)."""
    pieces = text.strip().rsplit(None, 1)
    return ("", *pieces)[-2:] if pieces else ("", "")


def units(text, kind):
    """What a likelihood is divided by the number of.

    Args:
        text: str.
        kind: "words" (between white space, and one end of each line, blank lines too, the last of which may be the
            text's: WikiText, Penn Treebank, 1B Words; see `ends_line`), "characters" (bytes of UTF-8: enwik8, text8)
            or "last_word" (that alone: LAMBADA).

    Returns:
        a sequence of str or int.
    """
    if kind == "words":
        return text.split() + ["\n"] * (text.count("\n") + ends_line(text, kind))
    return [last_word(text)[1]] if kind == "last_word" else text.encode()


def ends_line(text, kind):
    """Whether the end of a text is one of its `units`, which must be predicted too: the end of a line without one."""
    return kind == "words" and not text.endswith("\n")


METRICS = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "relation_f1_micro": relation_f1_micro,
    "relation_f1_macro": relation_f1_macro,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "entity_f1": entity_f1,
    "rouge": rouge,
    "bleu": bleu,
    "bleu_intl": bleu_intl,
    "exact_match": exact_match,
    "trivia_qa": functools.partial(exact_match, normalize=squad.normalize_trivia_qa),
    "squad": answers,
    "multirc": multirc,
    "record": answers,
    "perplexity": perplexity,
    "bits_per_character": bits_per_character,
    "per_unit": per_unit,
    "last_word_accuracy": last_word_accuracy,
    "ranking": ranking,
    "retrieval": retrieval,
    "minimal_pairs": minimal_pairs,
    "cloze": cloze,
}
_OF_NAMES = ("relation_f1_micro", "relation_f1_macro")  # metrics that are given names of classes, not their numbers


def score(task, predictions, examples):
    """Every metric of a task.

    Args:
        task: a Task.
        predictions: one for each example, by kind: class and choice int; embedding int, see `retrieval`; regression
            float; tag a list of names of labels, as long as `words`; span and text str ("": no answer); lm Likelihood.
            None: an answer that could not be understood, which is wrong (class, choice, regression).
        examples: the examples, raw, in the same order.

    Returns:
        {metric: float}, the main one first.

    Raises:
        DataError: there are no examples, or their labels are not known.
    """
    predictions, examples = list(predictions), list(examples)
    if not examples:
        raise DataError(f"there is nothing to score: the split of task {task.name} is empty")
    values = {}
    for name in task.metrics:
        found = one(task, name, predictions, examples)
        values |= {key: value for key, value in found.items() if key not in values}  # the task's own come first
    return values


def one(task, name, predictions, examples):
    """{metric: float} of one of METRICS; arguments and errors as of `score`."""
    references = _references(task, examples, name)
    if name == "multirc":
        return multirc(predictions, references, [example["group"] for example in examples])
    return METRICS[name](_comparable(task, predictions, examples, name), references)


def references(task, example):
    """What an answer in words may be: a tuple of str, None where that is not known.

    Of kinds span and text; choice and class with `references`.
    """
    if task.kind == "span":
        return None if example["answers"] is None else tuple(text for text, _ in example["answers"])
    if "references" in example:
        return tuple(example["references"])
    if "turns" in example:
        text = next(text for role, text in reversed(example["turns"]) if role == "assistant")
    else:
        text = example["targets"]
    return None if text is None else (text,)


def _references(task, examples, metric):
    """What a metric compares the predictions with: one for each example, or each word where words are counted."""
    if task.kind == "lm":
        texts = [example["text"] for example in examples]
        return (
            texts if metric in ("last_word_accuracy", "per_unit") else [len(units(text, task.units)) for text in texts]
        )
    if task.kind == "embedding":
        return [None] * len(examples)  # which texts belong together is no secret
    if task.kind in ("span", "text") or metric == "record":
        labels = [references(task, example) for example in examples]
    else:
        labels = [example[{"tag": "tags", "cloze": "answer"}.get(task.kind, "label")] for example in examples]
    if None in labels:
        raise DataError(
            f"task {task.name} cannot be scored here: example {labels.index(None)} of the split has no label (the test "
            "labels of public benchmarks are often kept back). Use the validation split"
        )
    names = task.labels()
    if metric in _OF_NAMES:
        return [names[label] for label in labels]
    if task.kind == "tag":
        tags = [[names[tag] for tag in some] for some in labels]
        return tags if metric == "entity_f1" else list(itertools.chain.from_iterable(tags))
    return labels


def _comparable(task, predictions, examples, metric):
    """Predictions in the form of `_references`."""
    if task.kind == "tag" and metric != "entity_f1":
        for number, (tags, example) in enumerate(zip(predictions, examples, strict=True)):
            if len(tags) != len(example["words"]):
                raise ValueError(f"example {number} has {len(example['words'])} words but {len(tags)} predicted tags")
        return list(itertools.chain.from_iterable(predictions))
    if task.kind == "choice" and metric == "record":
        pairs = zip(predictions, examples, strict=True)
        return ["" if number is None else example["choices"][number] for number, example in pairs]
    if metric in _OF_NAMES:
        names = task.labels()
        return [None if label is None else names[label] for label in predictions]
    return predictions
