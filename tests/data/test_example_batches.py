"""However examples are laid out in rows, each is there once and whole, in the step that its number says."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from cloze.data.example_batches import ExampleBatches, lay_out
from cloze.data.order import Epochs, Once
from cloze.errors import ConfigError
from tests.data.features import LENGTH, features, layout

PAD = 5
SEVERAL = st.lists(st.lists(st.integers(1, LENGTH), min_size=2, max_size=4), min_size=1, max_size=12)
SINGLE = st.lists(st.integers(1, LENGTH).map(lambda length: [length]), min_size=1, max_size=12)
ragged = hypothesis.settings(deadline=None, max_examples=25)
KINDS = [
    ("class", "encoder"), ("regression", "decoder"), ("tag", "encoder"), ("span", "encoder"), ("text", "decoder"),
    ("text", "encoder_decoder"), ("class", "encoder_decoder"),
]  # fmt: skip


def batches(sources, batching="pad", weights=None, **options):
    settings = dict(length=LENGTH, pad=PAD, multiple=1, batch_size=8, shuffle=True) | options
    size, shuffle, sizes = settings.pop("batch_size"), settings.pop("shuffle"), [len(one.used) for one in sources]
    epochs = Epochs(sizes, weights or [1.0] * len(sources), seed=3, size=size, shuffle=True)
    return ExampleBatches(sources, epochs if shuffle else Once(sizes, size), batching=batching, **settings)


def packings(architecture):
    return ("pad", "buckets") if architecture == "encoder_decoder" else ("pad", "buckets", "pack")


def read(batch, made):
    """{number of the feature: what its row holds of it}, read as a model would."""
    found, kind = {}, made.kind
    decoder_text = kind == "text" and made.architecture == "decoder"
    ids = batch["row_id"].reshape(len(batch["tokens"]), -1)
    for row, slot in np.argwhere(ids >= 0):
        at = (row, slot) if batch["row_id"].ndim == 2 else row
        if "segments" in batch:
            places = np.flatnonzero(batch["segments"][row] == slot + 1)
        else:
            places = np.flatnonzero(batch["tokens"][row] != PAD)
        first = places[0]
        assert places.tolist() == list(range(first, places[-1] + 1))
        if "positions" in batch:
            assert batch["positions"][row, places].tolist() == list(range(len(places)))
        item = {"tokens": batch["tokens"][row, places].tolist()}
        if made.types:
            item["types"] = batch["token_types"][row, places].tolist()
        if "pool_positions" in batch:
            item["pool"] = batch["pool_positions"][at] - first
        if decoder_text:
            weights = batch["target_weights"][row, places]
            item["scored"] = [0.0, *weights[:-1].tolist()]
            assert weights[-1] == 0
            np.testing.assert_array_equal(batch["targets"][row, places[:-1]], batch["tokens"][row, places[1:]])
            item["ranks"] = batch["ranks"][row, places].tolist() if made.full_prefix else None
        elif kind == "text":
            weights = batch["target_weights"][at]
            item["targets"] = batch["targets"][at][: int(weights.sum())].tolist()
            assert weights.tolist() == sorted(weights.tolist(), reverse=True)
            assert batch["decoder_tokens"][at].tolist() == [made.decoder_start, *batch["targets"][at][:-1]]
        elif kind == "tag":
            scored = batch["label_weights"][row, places] > 0
            item["labels"] = np.where(scored, batch["labels"][row, places], -1).tolist()
        else:
            assert batch["label_weights"][at] == 1
            item["labels"] = (batch["labels"][at] - (first if kind == "span" else 0)).tolist()
        assert ids[row, slot] not in found
        found[int(ids[row, slot])] = item
    return found


def stated(source):
    """The same, straight from the features."""
    arrays, made, found = source.arrays, source.layout, {}
    for i in range(len(source.sizes)):
        span = slice(*arrays["offsets"][i : i + 2])
        size = span.stop - span.start
        item = {"tokens": arrays["tokens"][span].tolist()}
        if made.types:
            item["types"] = [int(place >= arrays["types"][i]) for place in range(size)]
        if made.kind in ("class", "regression"):
            item["pool"] = arrays["pool"][i]
        if made.kind == "text" and made.architecture == "decoder":
            item["scored"] = arrays["scored"][span].tolist()
            ranks = [0 if place < arrays["prefix"][i] else place for place in range(size)]
            item["ranks"] = ranks if made.full_prefix else None
        elif made.kind == "text":
            answer = arrays["target_tokens"][slice(*arrays["target_offsets"][i : i + 2])].tolist()
            item["targets"] = [*made.target_start, *answer] if answer else []
        elif made.kind == "tag":
            item["labels"] = arrays["token_labels"][span].tolist()
        else:
            item["labels"] = arrays["labels"][i].tolist()
        found[i] = item
    return found


@pytest.mark.parametrize("kind, architecture", KINDS)
@hypothesis.given(lengths=SINGLE)
@ragged
def test_rows_hold_each_example_once_and_whole(kind, architecture, lengths):
    made = layout(kind, architecture, full_prefix=kind == "text")
    source = features(lengths, made)
    expected, weights = stated(source), set()
    for batching in packings(architecture):
        data = batches([source], batching, shuffle=False)
        found = {}
        for step in range(data.order.steps_per_epoch):
            batch = data.batches(step)
            found |= read(batch, made)
            weights.add((batching, step, float(batch.get("label_weights", batch.get("target_weights")).sum())))
            if architecture == "encoder_decoder" and kind != "text":
                real = batch["segments"] > 0
                np.testing.assert_array_equal(batch["decoder_segments"], batch["segments"])
                np.testing.assert_array_equal(
                    batch["decoder_tokens"][:, 1:][real[:, 1:]], batch["tokens"][:, :-1][real[:, 1:]]
                )
                assert (batch["decoder_tokens"][:, 0][real[:, 0]] == made.decoder_start).all()
        assert found == expected
    assert len(weights) == len({(step, weight) for _, step, weight in weights}) * len(packings(architecture))


@pytest.mark.parametrize("batching", ["pad", "buckets"])
@hypothesis.given(lengths=SEVERAL)
@ragged
def test_choices_are_side_by_side_and_absent_ones_have_no_weight(batching, lengths):
    source = features(lengths, layout("choice"))
    data, seen = batches([source], batching, shuffle=False), []
    for step in range(data.order.steps_per_epoch):
        batch = data.batches(step)
        for row in np.flatnonzero(batch["row_id"] >= 0).tolist():
            number = int(batch["row_id"][row])
            texts = range(*source.arrays["first_text"][number : number + 2])
            seen.append(number)
            for choice in range(source.texts):
                size = lengths[number][choice] if choice < len(texts) else 0
                assert batch["choice_weights"][row, choice] == (choice < len(texts))
                assert batch["segments"][row, choice].tolist() == [1] * size + [0] * (batch["tokens"].shape[2] - size)
                if size:
                    span = slice(*source.arrays["offsets"][texts[choice] : texts[choice] + 2])
                    assert batch["tokens"][row, choice, :size].tolist() == source.arrays["tokens"][span].tolist()
                    assert batch["pool_positions"][row, choice] == size - 1
            assert batch["labels"][row] == source.arrays["labels"][number]
    assert seen == list(range(len(lengths)))


@hypothesis.given(sizes=st.lists(st.integers(0, LENGTH), max_size=40))
@hypothesis.settings(deadline=None, max_examples=100)
def test_packing_never_overlaps_and_needs_few_rows(sizes):
    rows, starts, slots = lay_out(np.array(sizes, int), LENGTH)
    taken = {}
    for size, row, start, slot in zip(sizes, rows.tolist(), starts.tolist(), slots.tolist(), strict=True):
        if size:
            assert start + size <= LENGTH
            taken.setdefault(row, []).append((slot, start, size))
    for items in taken.values():
        ordered = sorted(items)
        assert [slot for slot, _, _ in ordered] == list(range(len(items)))
        assert [start for _, start, _ in ordered] == np.cumsum([0, *[size for _, _, size in ordered]])[:-1].tolist()
    assert len(taken) <= 2 * sum(sizes) / LENGTH + 1  # any two rows together hold more than one could
    assert sorted(taken) == list(range(len(taken)))


def test_a_step_has_the_same_examples_in_any_layout_and_an_epoch_has_each_once():
    source = features([[1 + i % 11] for i in range(24)], layout("class"))
    made = {batching: batches([source], batching) for batching in ("pad", "buckets", "pack")}
    for step in range(4):
        ids = [np.sort(data.batches(step)["row_id"].ravel()) for data in made.values()]
        ids = [numbers[numbers >= 0].tolist() for numbers in ids]
        assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 8
    epochs = [np.concatenate([made["pad"].batches(3 * e + s)["row_id"] for s in range(3)]) for e in range(2)]
    assert (
        all(sorted(epoch.tolist()) == list(range(24)) for epoch in epochs) and epochs[0].tolist() != epochs[1].tolist()
    )
    assert made["pad"].order.steps_per_epoch == 3.0


def test_sizes_are_few_and_fit():
    source = features([[2], [2], [3], [LENGTH], [2], [9], [3], [2]] * 4, layout("class"))
    data = batches([source], "buckets", batch_size=2, shuffle=False)
    assert [data.batches(step)["tokens"].shape for step in range(4)] == [(2, 8), (2, 16), (2, 16), (2, 8)]
    longer = batches([source], "buckets", batch_size=2, length=64, shuffle=False)
    assert [longer.batches(step)["tokens"].shape[1] for step in range(3)] == [8, 16, 16]
    packed = batches([source], "pack", batch_size=16, multiple=3)
    assert packed.slots == 8 and packed.size(0) % 3 == 0 and packed.size(0) < 16
    assert packed.batches(0)["row_id"].shape == (packed.size(0), 8)


def test_processes_make_their_own_rows_of_the_same_batch():
    source = features([[1 + i % 9] for i in range(20)], layout("span"))
    for batching in ("buckets", "pack"):
        data = batches([source], batching, multiple=2)
        whole, places = data.batches(1), np.arange(data.size(1))
        for some in (places[::2], places[::-1], places[:0]):
            part = batches([source], batching, multiple=2).batches(1, some)
            assert part.keys() == whole.keys()
            for name, array in part.items():
                np.testing.assert_array_equal(array, whole[name][some], err_msg=name)
                assert array.dtype == whole[name].dtype
        with pytest.raises(ValueError, match="places must lie in"):
            data.batches(1, [data.size(1)])


def test_tasks_are_mixed_by_weight_in_training_and_by_size_after():
    sources = [features([[3]] * 30, layout("text", "decoder"), seed) for seed in range(2)]
    data = batches(sources, "pack", weights=[3, 1], batch_size=16)
    mine = [0, 0]
    for step in range(8):
        batch = data.batches(step)
        for row, slot in np.argwhere(batch["row_id"] >= 0):
            tokens = batch["tokens"][row][batch["segments"][row] == slot + 1].tolist()
            number = batch["row_id"][row, slot]
            source = [s.arrays["tokens"][3 * number : 3 * number + 3].tolist() for s in sources].index(tokens)
            mine[source] += 1
    assert mine == [96, 32]
    sources = [features([[size]] * count, layout("text", "decoder")) for size, count in ((3, 30), (5, 10), (7, 2))]
    after = batches(sources, shuffle=False)
    made = [after.batches(step) for step in range(after.order.steps_per_epoch)]
    ids = np.concatenate([batch["row_id"] for batch in made])
    sizes = np.concatenate([(batch["tokens"] != PAD).sum(axis=1) for batch in made])
    for size, count in ((3, 30), (5, 10), (7, 2)):  # each in its own order, and spread over all batches
        assert ids[sizes == size].tolist() == list(range(count))
        for batch in range(5):
            share = count * 8 / 42
            assert abs((sizes[8 * batch :][:8] == size).sum() - share) <= 1
    assert ids[42:].tolist() == [-1] * 6


def test_unknown_labels_have_no_weight():
    source = features([[3]] * 4, layout("class"))
    source.arrays["labels"][1] = -1
    batch = batches([source], shuffle=False).batches(0)
    assert batch["label_weights"].tolist() == [1, 0, 1, 1, 0, 0, 0, 0] and batch["labels"].min() == 0
    numbers = features([[3]] * 2, layout("regression"))
    numbers.arrays["labels"][0] = np.nan
    batch = batches([numbers], shuffle=False, batch_size=2).batches(0)
    assert batch["label_weights"].tolist() == [0, 1] and np.isfinite(batch["labels"]).all()


def test_classifiers_of_all_places_are_given_none():
    assert "pool_positions" not in batches([features([[3]] * 2, layout("class", pool="all"))]).batches(0)


def test_examples_of_several_texts_are_not_packed():
    with pytest.raises(ConfigError, match="examples of 2 texts"):
        batches([features([[3, 4]], layout("choice"))], "pack")
