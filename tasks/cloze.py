"""Facts with a blank: what a model knows without being asked in another way.

LAMA (Petroni et al. 2019): JSON lines with `masked_sentence`, in which [MASK] stands for `obj_label`, or with
`masked_sentences`, a list of those that belong together (Google-RE, ConceptNet, SQuAD). Facts of T-REx have neither but
evidences; as in the paper (section 4.2) they are put into the template of their relation, which relations.jsonl beside
their folder states: "[X] was born in [Y] ." `predicate_id` or `pred`, where it is there, names the relation.
"""

import pathlib

from cloze.errors import DataError
from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec
from cloze.tasks.readers import Record
from cloze.tasks.text_scores import BLANK

_RELATIONS = "relations.jsonl"


def _facts(*paths):
    """The records of files, those of T-REx with a `masked_sentence`."""
    for path in map(pathlib.Path, paths):
        if path.name != _RELATIONS:
            templates = _templates(path)
            for record in readers.json_lines(str(path)):
                templated = "evidences" in record and not {"masked_sentence", "masked_sentences"} & set(record)
                yield _templated(record, templates) if templated else record


def _templates(path):
    """{relation: template} of the file beside the folder of `path`, or in it; {} without one."""
    for folder in (path.parent, path.parent.parent):
        if (folder / _RELATIONS).is_file():
            records = readers.json_lines(str(folder / _RELATIONS))
            return {record["relation"]: record["template"] for record in records}
    return {}


def _templated(record, templates):
    template = templates.get(record["predicate_id"])
    if template is None:
        raise DataError(
            f"{record.where}: a fact of T-REx is put into the template of its relation, and no {_RELATIONS} in this "
            f"folder or above has one of {record['predicate_id']!r}: put LAMA's there"
        )
    text = template.replace("[X]", record["sub_label"]).replace("[Y]", BLANK)
    return Record(record | {"masked_sentence": text}, record.where)


def _fact(record):
    several = "masked_sentence" not in record and "masked_sentences" in record
    text = " ".join(map(str, record["masked_sentences"])) if several else record["masked_sentence"]
    for field, value in (("masked_sentence", text), ("obj_label", record["obj_label"])):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{record.where}: field {field!r} holds {value!r}, where text is expected")
    if text.count(BLANK) != 1 and not several:  # among evidences of LAMA some have none or several, and are left out
        raise DataError(
            f"{record.where}: {text!r} has {text.count(BLANK)} blanks: write {BLANK} once, for the word that is asked"
        )
    example = {"text": text, "answer": record["obj_label"].strip()}
    example |= {"id": str(record["uuid"])} if "uuid" in record else {}
    relation = record.get("predicate_id", record.get("pred"))
    return example | ({} if relation is None else {"paradigm": relation})


CLOZE = (
    Spec(
        name="lama",
        kind="cloze",
        metrics=("cloze",),
        example=_fact,
        files={"validation": Files(_facts, ("TREx/*.jsonl|*.jsonl|data/*.jsonl",))},
    ),
)
