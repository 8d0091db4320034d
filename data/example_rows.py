"""The arrays of rows of labelled examples, from token features and where they go."""

import numpy as np

from cloze.data.corpus import ranges

_ROW_KINDS = ("class", "regression", "choice")  # a label for a whole example
_SEVERAL = ("choice", "embedding")  # examples of several texts, of which some have fewer than others


def fill(sources, plan, places, pad, texts, slots):
    """Makes rows.

    Args:
        sources: data.examples.Features of each task, all of one layout.
        plan: data.example_batches.Plan.
        places: int64 [n], the rows that are made.
        pad: id of padding.
        texts: texts that an example has room for, C.
        slots: examples that a packed row has room for, E; None: rows are not packed.

    Returns:
        Dict of arrays. Of the texts, int32 [n, T], [n, C, T] for examples of several texts: `tokens`, `segments` (from
        1; 0 is padding), `token_types` if the layout has types, `positions` of packed rows, for encoder-decoders
        `decoder_tokens` and `decoder_segments` of the same text.
        By kind, [n, E, ...] of packed rows:
            class, regression, choice  `labels` int32 or f32 [n], `label_weights` f32 [n], 0 where no label is known,
                `pool_positions` int32 [n] or [n, C], and of choices `choice_weights` f32 [n, C], 0 where there is none
            embedding  `pool_positions` and `choice_weights` as of choices
            tag   `labels` int32, `label_weights` f32 [n, T]
            span  `labels` int32 [n, 2], the positions of the first and the last token, `label_weights` f32 [n]
            text  of decoders `targets`, `target_weights` [n, T], and `ranks` if prompts are read in both directions,
                without `segments` if rows are not packed; of encoder-decoders `decoder_tokens`, `targets`,
                `target_weights` [n, O]
        `row_id` int32 [n]: the number of the feature in its split, -1 where there is none.
    """
    arrays = _Arrays(sources[0].layout, len(places), plan, pad, texts, slots)
    row_of = np.full(plan.num_rows, -1)
    row_of[places] = np.arange(len(places))
    for number, source in enumerate(sources):
        mine = np.flatnonzero((plan.sources == number) & (plan.features >= 0))
        mine = mine[row_of[plan.rows[mine]] >= 0]
        arrays.put(source, plan.features[mine], row_of[plan.rows[mine]], plan.starts[mine], plan.slots[mine])
    return arrays.batch()


class _Arrays:
    """Rows that are being made: every array is flat over rows and texts, or rows and slots."""

    def __init__(self, layout, num_rows, plan, pad, texts, slots):
        self.layout, self.pad, self.packed = layout, pad, slots is not None
        self.rows, self.texts, self.slots, self.length = num_rows, texts, slots or 1, plan.length
        size = num_rows * texts * plan.length
        kind = layout.kind
        self.flat = {"tokens": np.full(size, pad, np.int32), "segments": np.zeros(size, np.int32)}
        if layout.types:
            self.flat["token_types"] = np.zeros(size, np.int32)
        if self.packed:
            self.flat["positions"] = np.zeros(size, np.int32)
        examples = num_rows * self.slots
        self.each = {"row_id": np.full(examples, -1, np.int32)}
        if kind == "tag":
            self.flat |= {"labels": np.zeros(size, np.int32), "label_weights": np.zeros(size, np.float32)}
        elif kind in (*_ROW_KINDS, "span"):
            shape = (examples, 2) if kind == "span" else examples
            self.each["labels"] = np.zeros(shape, np.float32 if kind == "regression" else np.int32)
            self.each["label_weights"] = np.zeros(examples, np.float32)
        if kind in (*_ROW_KINDS, *_SEVERAL) and layout.pool != "all":
            self.each["pool_positions"] = np.zeros((examples, texts), np.int32)
        if kind in _SEVERAL:
            self.each["choice_weights"] = np.zeros((examples, texts), np.float32)
        self.answers = {}
        if kind == "text" and layout.architecture == "encoder_decoder":
            shape = (num_rows, plan.target_length)
            self.answers = {"targets": np.full(shape, pad, np.int32), "target_weights": np.zeros(shape, np.float32)}
        elif kind == "text":
            self.flat |= {"targets": np.full(size, pad, np.int32), "target_weights": np.zeros(size, np.float32)}
            if layout.full_prefix:
                # That of padding behind the text is as high as its position: nothing before it sees it.
                self.flat["ranks"] = np.tile(np.arange(plan.length, dtype=np.int32), num_rows * texts)

    def put(self, source, features, rows, starts, slots):
        """Puts features of one source into their rows.

        Args:
            source: data.examples.Features.
            features, rows, starts, slots: int64 [m].
        """
        arrays = source.arrays
        first, stop = arrays["first_text"][features], arrays["first_text"][features + 1]
        texts = ranges(first, stop - first)
        choices = ranges(np.zeros_like(first), stop - first)  # number of each text in its example
        owner = np.repeat(np.arange(len(features)), stop - first)
        lines = rows[owner] * self.texts + choices
        self._put_tokens(source, texts, lines * self.length + starts[owner], slots[owner] + 1)
        where = rows * self.slots + slots
        self.each["row_id"][where] = features
        if "pool_positions" in self.each:
            self.each["pool_positions"][where[owner], choices] = arrays["pool"][texts] + starts[owner]
        if "choice_weights" in self.each:
            self.each["choice_weights"][where[owner], choices] = 1.0
        if "labels" in self.each:
            labels = arrays["labels"][features]
            labelled = ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
            if labels.ndim == 2:
                labels, labelled = labels + starts[:, None], labelled.all(axis=1)
            self.each["labels"][where[labelled]] = labels[labelled]
            self.each["label_weights"][where[labelled]] = 1.0
        if self.answers:
            self._put_answers(arrays, features, rows)

    def _put_tokens(self, source, texts, bases, segments):
        """Puts texts [m] from `bases` [m] of the flat arrays on, as segments [m]."""
        arrays, lengths = source.arrays, source.lengths[texts]
        read, write = ranges(arrays["offsets"][texts], lengths), ranges(bases, lengths)
        within = ranges(np.zeros_like(lengths), lengths)
        self.flat["tokens"][write] = arrays["tokens"][read]
        self.flat["segments"][write] = np.repeat(segments, lengths)
        if "token_types" in self.flat:
            self.flat["token_types"][write] = within >= np.repeat(arrays["types"][texts], lengths)
        if "positions" in self.flat:
            self.flat["positions"][write] = within
        if "labels" in self.flat:
            labels = arrays["token_labels"][read]
            self.flat["labels"][write] = np.maximum(labels, 0)
            self.flat["label_weights"][write] = labels >= 0
        if "targets" in self.flat:  # each token is predicted at the position before it
            later = within > 0
            self.flat["targets"][write[later] - 1] = arrays["tokens"][read[later]]
            self.flat["target_weights"][write[later] - 1] = arrays["scored"][read[later]]
        if "ranks" in self.flat:
            self.flat["ranks"][write] = np.where(within < np.repeat(arrays["prefix"][texts], lengths), 0, within)

    def _put_answers(self, arrays, features, rows):
        """Puts answers that are known, each behind its start, into the rows of the decoder."""
        start, offsets = self.layout.target_start, arrays["target_offsets"]
        firsts, lengths = offsets[features], offsets[features + 1] - offsets[features]
        targets, weights = self.answers["targets"], self.answers["target_weights"]
        answered = rows[lengths > 0]
        targets[answered, : len(start)] = start
        weights[answered, : len(start)] = 1.0
        write = ranges(rows * targets.shape[1] + len(start), lengths)
        targets.reshape(-1)[write] = arrays["target_tokens"][ranges(firsts, lengths)]
        weights.reshape(-1)[write] = 1.0

    def batch(self):
        """The arrays in their shapes."""
        kind, decoder_reads = self.layout.kind, self.layout.architecture == "encoder_decoder"
        several = self.texts > 1 or kind in _SEVERAL
        lead = (self.rows, self.texts) if several else (self.rows,)
        batch = {name: array.reshape(*lead, self.length) for name, array in self.flat.items()} | self.answers
        for name, array in self.each.items():
            if name == "pool_positions" and not several:
                array = array[:, 0]
            shape = (self.rows, self.slots) if self.packed else (self.rows,)
            batch[name] = array.reshape(*shape, *array.shape[1:])
        if decoder_reads and kind == "text":
            batch["decoder_tokens"] = _shifted(batch["targets"], self.layout.decoder_start)
        elif decoder_reads:
            read = _shifted(batch["tokens"], self.layout.decoder_start)
            batch["decoder_tokens"] = np.where(batch["segments"] > 0, read, self.pad).astype(np.int32)
            batch["decoder_segments"] = batch["segments"]
        elif kind == "text" and not self.packed:
            del batch["segments"]  # padding stands at the end, where nothing before it sees it
        return batch


def _shifted(array, start):
    """`array` moved one position to the right, `start` being first."""
    moved = np.roll(array, 1, axis=-1)
    moved[..., 0] = start
    return moved
