"""Texts that grow: what is shown on the way is the text, and it does not depend on how often it is looked at."""

from hypothesis import given
from hypothesis import strategies as st

from cloze.decoding.streaming import Growing

TEXTS = st.text("ab .é\U0001f600", max_size=24)
STOPS = st.lists(st.text("ab .é", min_size=1, max_size=3), max_size=3)


def decode(ids):
    return bytes(ids).decode(errors="replace")


def before(text, stops):
    """The text before the stop that is complete first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)].strip()
    return text.strip()


def grown(text, stops, every):
    """(the text, what was shown)."""
    ids, shown = list(text.encode()), []
    growing = Growing(decode, stops, shown.append)
    for size in [*range(every, len(ids), every), len(ids)]:
        if growing.feed(ids[:size], ended=size == len(ids)):
            break
    assert growing.over
    return growing.text, shown


@given(TEXTS, STOPS, st.integers(1, 9))
def test_what_is_shown_is_the_text_before_the_first_stop(text, stops, every):
    found, shown = grown(text, stops, every)
    assert found == before(text, stops) and "".join(shown) == found


def test_pieces_are_shown_as_soon_as_they_are_certain():
    _, shown = grown("one é two. Q: x", ["Q:"], 1)
    assert "".join(shown) == "one é two." and len(shown) == 8 and shown[:3] == ["o", "n", "e"]
