"""Benchmarks of tags, spans and texts: entities, parts of speech, SQuAD, summaries, translation, questions, plain text.

Tjong Kim Sang and De Meulder 2003 (CoNLL), Rajpurkar et al. 2016, 2018 (SQuAD), Nallapati et al. 2016 (CNN/DailyMail),
Narayan et al. 2018 (XSum), Roberts et al. 2020 (closed-book questions), Merity et al. 2017 (WikiText), Mikolov et al.
2010 (PTB), Mahoney 2006 (enwik8, text8), Chelba et al. 2014 (1B words), Paperno et al. 2016 (LAMBADA).
"""

import functools
import re

from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec
from cloze.tasks.readers import Record

_TRAIN_DEV_TEST = (("train", "train"), ("validation", "dev"), ("test", "test"))
_SPLITS = ("train", "validation", "test")

# --- Tags ---

_ENTITIES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
_PENN = tuple(
    "\" '' # $ ( ) , . : `` CC CD DT EX FW IN JJ JJR JJS LS MD NN NNP NNPS NNS NN|SYM PDT POS PRP PRP$ RB RBR RBS RP "
    "SYM TO UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB".split()
)
_UNIVERSAL = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())


def _tags(field):
    def example(record):
        return {"words": record["tokens"], "tags": record[field]}

    return example


def _conll(name, field, labels, metrics):
    read = functools.partial(readers.conll, columns=("tokens", "pos", "chunks", "ner"))
    names = {"train": "eng.train|train.txt", "validation": "eng.testa|valid.txt|dev.txt", "test": "eng.testb|test.txt"}
    return Spec(
        name=name, kind="tag", metrics=metrics, example=_tags(field), labels=labels,
        files={split: Files(read, (file,)) for split, file in names.items()},
        tfds={"train": "conll2003:train", "validation": "conll2003:dev", "test": "conll2003:test"},
    )  # fmt: skip


def _universal(record):
    """Words with their tags; what tensorflow-datasets gives no tag is several words written together."""
    pairs = [(word, tag) for word, tag in zip(record["tokens"], record["upos"], strict=True) if tag != "_"]
    return {"words": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}


TAGS = (
    _conll("conll2003", "ner", _ENTITIES, ("entity_f1",)),
    _conll("conll2003_pos", "pos", _PENN, ("accuracy",)),
    Spec(name="universal_dependencies", kind="tag", metrics=("accuracy",), example=_universal, labels=_UNIVERSAL,
         files={ours: Files(readers.conllu, (f"*-ud-{theirs}.conllu",)) for ours, theirs in _TRAIN_DEV_TEST},
         tfds={ours: f"universal_dependencies/en_ewt:{theirs}" for ours, theirs in _TRAIN_DEV_TEST}),
)  # fmt: skip


# --- Spans ---


def _squad_file(path):
    for file in readers.json_objects(path):
        for article in file.each("data"):
            for paragraph in article.each("paragraphs"):
                for qa in paragraph.each("qas"):
                    answers = [] if qa.get("is_impossible") else qa.each("answers")
                    columns = {key: [answer[key] for answer in answers] for key in ("text", "answer_start")}
                    fields = {"id": qa["id"], "question": qa["question"], "context": paragraph["context"]}
                    yield Record(fields | {"answers": columns}, f"{path}, question {qa['id']}")


def _squad(record):
    answers = record.within("answers")
    starts = zip(answers["text"], answers["answer_start"], strict=True)
    return {
        "question": record["question"],
        "context": record["context"],
        "answers": tuple((t, int(a)) for t, a in starts),
    }


def _squad_of(name, version):
    return Spec(
        name=name, kind="span", metrics=("squad",), example=_squad,
        files={"train": Files(_squad_file, (f"train-{version}.json",)),
               "validation": Files(_squad_file, (f"dev-{version}.json",))},
        tfds={split: f"squad/{version}:{split}" for split in ("train", "validation")},
    )  # fmt: skip


SPANS = (_squad_of("squad", "v1.1"), _squad_of("squad_v2", "v2.0"))


# --- Texts ---


def _sides(source, target):
    def example(record):
        return {"inputs": record[source], "targets": record[target]}

    return example


def _pairs_of_lines(source, target, suffixes):
    """Files of lines that belong together, such as train.source and train.target; validation is val, valid or dev."""
    read = functools.partial(readers.parallel, fields=(source, target))
    stems = {"train": ("train",), "validation": ("val", "valid", "dev"), "test": ("test",)}
    return {
        split: Files(read, tuple("|".join(f"{stem}.{suffix}" for stem in names) for suffix in suffixes))
        for split, names in stems.items()
    }


def _summaries(name, source, target):
    return Spec(
        name=name, kind="text", metrics=("rouge",), example=_sides(source, target), prefix="summarize: ",
        files=_pairs_of_lines(source, target, ("source", "target")),
        tfds={split: f"{name}:{split}" for split in _SPLITS},
    )  # fmt: skip


_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}


def _translation(name, tfds, source, target):
    return Spec(
        name=name, kind="text", metrics=("bleu", "bleu_intl"), example=_sides(source, target),
        prefix=f"translate {_LANGUAGES[source]} to {_LANGUAGES[target]}: ",
        files=_pairs_of_lines(source, target, (source, target)), tfds={split: f"{tfds}:{split}" for split in _SPLITS},
    )  # fmt: skip


def _question(answers):
    """answers: record -> the answers that count, the first of which is learned."""

    def example(record):
        texts = tuple(answers(record))
        return {"inputs": record["question"], "targets": texts[0] if texts else "", "references": texts}

    return example


def _web_questions_file(path):
    for record in readers.json_list(path):
        # (list (description "Jazmyn Bieber") (description Jaxon))
        pairs = re.findall(r'\(description (?:"([^"]+)"|([^()"]+))\)', record["targetValue"])
        answers = [quoted or bare for quoted, bare in pairs]
        yield Record({"id": record["url"], "question": record["utterance"], "answers": answers}, record.where)


def _trivia_qa_file(path):
    for file in readers.json_objects(path):
        for entry in file.each("Data"):
            answer = entry.within("Answer")
            answers = {"value": answer["Value"], "aliases": answer["Aliases"]}
            yield Record({"id": entry["QuestionId"], "question": entry["Question"], "answer": answers}, entry.where)


def _trivia_qa_answers(record):
    answer = record.within("answer")
    return dict.fromkeys((answer["value"], *answer["aliases"]))  # each once, in order


TEXTS = (
    _summaries("cnn_dailymail", "article", "highlights"),
    _summaries("xsum", "document", "summary"),
    _translation("wmt14_en_de", "wmt14_translate/de-en", "en", "de"),
    _translation("wmt14_en_fr", "wmt14_translate/fr-en", "en", "fr"),
    _translation("wmt16_en_ro", "wmt16_translate/ro-en", "en", "ro"),
    _translation("wmt16_ro_en", "wmt16_translate/ro-en", "ro", "en"),
    Spec(name="natural_questions", kind="text", metrics=("exact_match",), prefix="nq question: ",
         example=_question(lambda record: record["answer"]),
         files={"train": Files(readers.json_lines, ("NQ-open.train.jsonl",)),
                "validation": Files(readers.json_lines, ("NQ-open.dev.jsonl",))},
         tfds={split: f"natural_questions_open:{split}" for split in ("train", "validation")}),
    Spec(name="web_questions", kind="text", metrics=("exact_match",), prefix="wq question: ",
         example=_question(lambda record: record["answers"]),
         files={split: Files(_web_questions_file, (f"webquestions.examples.{split}.json",))
                for split in ("train", "test")},
         tfds={split: f"web_questions:{split}" for split in ("train", "test")}),
    Spec(name="trivia_qa", kind="text", metrics=("trivia_qa",), example=_question(_trivia_qa_answers),
         prefix="trivia_qa question: ",
         files={split: Files(_trivia_qa_file, (f"unfiltered-web-{f}.json|triviaqa-unfiltered/unfiltered-web-{f}.json",))
                for split, f in (("train", "train"), ("validation", "dev"))},
         tfds={split: f"trivia_qa/unfiltered.nocontext:{split}" for split in ("train", "validation")}),
)  # fmt: skip


# --- Language models ---


def _text(record):
    return {"text": record["text"]}


def _language(name, units, metrics, files, tfds=None):
    return Spec(name=name, kind="lm", metrics=metrics, example=_text, units=units, files=files, tfds=tfds or {})


def _wikitext(name):
    stems = {"train": "wiki.train", "validation": "wiki.valid", "test": "wiki.test"}
    files = {split: Files(readers.articles, (f"{stem}.tokens|{stem}.raw",)) for split, stem in stems.items()}
    return _language(name, "words", ("perplexity", "per_unit"), files)


def _hundred_million(name):
    """90, 5 and 5 of the 100 million characters of one file."""
    parts = {"train": (0, 18), "validation": (18, 19), "test": (19, 20)}
    read = {split: functools.partial(readers.share_of_bytes, first=a, last=b) for split, (a, b) in parts.items()}
    return _language(
        name, "characters", ("bits_per_character", "per_unit"), {split: Files(read[split], (name,)) for split in parts}
    )


def _sentences(*paths):
    for path in paths:
        for where, line in readers.lines(path):
            if line.strip():
                yield Record({"text": line.strip()}, where)


def _passages(path):
    """LAMBADA's passages, as JSON with a field `text`, or as lines."""
    if path.endswith(".jsonl"):
        yield from readers.json_lines(path)
    else:
        yield from _sentences(path)


def _passage(record):
    """A passage, the last word of which is to be told; tensorflow-datasets keeps the end of its line."""
    return {"text": record["passage" if "passage" in record else "text"].strip()}


_PTB = {"train": "ptb.train.txt", "validation": "ptb.valid.txt", "test": "ptb.test.txt"}
_LM1B = {
    "train": "training-monolingual.tokenized.shuffled/news.en-*",
    "validation": "heldout-monolingual.tokenized.shuffled/news.en.heldout-00001-of-00050",
    "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
}
_LAMBADA = {
    "validation": "lambada_development_plain_text.txt",
    "test": "lambada_test.jsonl|lambada_test_en.jsonl|lambada_test_plain_text.txt",
}
LANGUAGE = (
    _wikitext("wikitext2"),
    _wikitext("wikitext103"),
    _language("ptb", "words", ("perplexity", "per_unit"),
              {split: Files(readers.whole, (f"{file}|data/{file}",)) for split, file in _PTB.items()}),
    _hundred_million("enwik8"),
    _hundred_million("text8"),
    _language("lm1b", "words", ("perplexity", "per_unit"),
              {split: Files(_sentences, (file,)) for split, file in _LM1B.items()},
              {"train": "lm1b:train", "test": "lm1b:test"}),
    Spec(name="lambada", kind="lm", metrics=("last_word_accuracy", "perplexity"), example=_passage, units="last_word",
         files={split: Files(_passages, (file,)) for split, file in _LAMBADA.items()},
         tfds={"validation": "lambada:train", "test": "lambada:test"}),
)  # fmt: skip
