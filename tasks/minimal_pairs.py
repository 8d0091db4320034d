"""Minimal pairs: two sentences that differ in one point of grammar, the first of which is right.

BLiMP (Warstadt et al. 2020): 67 files of 1,000 pairs, one for each paradigm; a line is a JSON object with
`sentence_good`, `sentence_bad`, `UID` (the paradigm), `field`, `linguistics_term`, `pairID` and others that are not
read. Files of pairs alone are read too, such as BabyLM's supplement (Warstadt et al. 2023); each is one paradigm.
"""

import pathlib

from cloze.tasks import readers
from cloze.tasks.benchmarks import Files, Spec


def _pair(record):
    path, _, line = record.where.rpartition(":")
    paradigm = record["UID"] if "UID" in record else pathlib.Path(path).stem
    return {
        "id": f"{paradigm}/{record.get('pairID', line)}",
        "texts": (record["sentence_good"], record["sentence_bad"]),
        "label": 0,
        "paradigm": paradigm,
        "field": record.get("field", ""),
        "phenomenon": record.get("linguistics_term", ""),
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
