"""Answers as SQuAD's evaluation script compares them (Rajpurkar et al. 2016, section 6.1; 2018 for no answer)."""

import collections
import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# TriviaQA's script takes a few more marks for punctuation, and for white space at that (Joshi et al. 2017)
TRIVIA_QA_PUNCTUATION = string.punctuation + "‘’´`_"


def normalize(text, punctuation=string.punctuation, replacement=""):
    """Lower case, without punctuation, then without articles, one space between words."""
    text = text.lower().translate(dict.fromkeys(map(ord, punctuation), replacement))
    return " ".join(_ARTICLES.sub(" ", text).split())


def normalize_trivia_qa(text):
    """As `normalize`, with TriviaQA's punctuation, which separates words."""
    return normalize(text, TRIVIA_QA_PUNCTUATION, " ")


def token_f1(prediction, reference):
    """F1 of two bags of normalised words; 1 where neither has a word, 0 where one of them has none."""
    predicted, expected = normalize(prediction).split(), normalize(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    same = (collections.Counter(predicted) & collections.Counter(expected)).total()
    return 2 * same / (len(predicted) + len(expected))


def score_answer(prediction, references):
    """(exact match, F1) of an answer against the best of its references.

    Args:
        prediction: str, "" for no answer.
        references: strings. Where there is none, or none that has a word, the right answer is none (the script of
            SQuAD 2.0, which is that of 1.1 for everything else).
    """
    references = [reference for reference in references if normalize(reference)] or [""]
    exact = max(float(normalize(prediction) == normalize(reference)) for reference in references)
    return exact, max(token_f1(prediction, reference) for reference in references)
