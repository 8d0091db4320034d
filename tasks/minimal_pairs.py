"""Minimal pairs: two sentences that differ in one point of grammar, the first of which is right.

BLiMP (Warstadt et al. 2020): 67 files of 1,000 pairs, one for each paradigm; a line is a JSON object with
`sentence_good`, `sentence_bad`, `UID` (the paradigm), `field` and `linguistics_term`. Any files of this form are read.
"""

from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec


def _pair(record):
    return {
        "id": f"{record['UID']}/{record.get('pairID', record.where.rpartition(':')[2])}",
        "texts": (record["sentence_good"], record["sentence_bad"]),
        "label": 0,
        "paradigm": record["UID"],
        "field": record["field"],
        "phenomenon": record["linguistics_term"],
    }


PAIRS = (
    Spec(
        name="blimp",
        kind="ranking",
        metrics=("minimal_pairs",),
        example=_pair,
        files={"validation": Files(readers.all_json_lines, ("*.jsonl|data/*.jsonl",))},
    ),
)
