"""Facts with a blank: what a model knows without being asked in another way.

LAMA (Petroni et al. 2019): JSON lines with `masked_sentence`, in which [MASK] stands for `obj_label`. Some files have
`masked_sentences`, a list of those that belong together. `predicate_id`, where it is there, names the relation.
"""

from cloze.errors import DataError
from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec
from cloze.tasks.text_scores import BLANK


def _fact(record):
    several = "masked_sentence" not in record and "masked_sentences" in record
    text = " ".join(map(str, record["masked_sentences"])) if several else record["masked_sentence"]
    for field, value in (("masked_sentence", text), ("obj_label", record["obj_label"])):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{record.where}: field {field!r} holds {value!r}, where text is expected")
    if text.count(BLANK) != 1:
        raise DataError(
            f"{record.where}: {text!r} has {text.count(BLANK)} blanks: write {BLANK} once, for the word that is asked"
        )
    example = {"text": text, "answer": record["obj_label"].strip()}
    example |= {"id": str(record["uuid"])} if "uuid" in record else {}
    return example | ({"paradigm": record["predicate_id"]} if "predicate_id" in record else {})


CLOZE = (
    Spec(
        name="lama",
        kind="cloze",
        metrics=("cloze",),
        example=_fact,
        files={"validation": Files(readers.all_json_lines, ("*.jsonl|data/*.jsonl",))},
    ),
)
