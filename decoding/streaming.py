"""Text that grows with its tokens: where a stop text ends it, and what of it may be shown already."""

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # what a decoder gives for the first bytes of a character


class Growing:
    """The text of one row.

    Args:
        decode: text of a list of ids.
        stop: texts before which it ends.
        show: called with each further piece of the text, as soon as nothing that follows can change it; None: nobody
            looks on. All pieces together are the text.

    Attributes:
        text: the whole, without white space around it.
        over: whether it has ended.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stop: Sequence[str] = (),
        show: Callable[[str], None] | None = None,
    ):
        self._decode, self._stop, self._show = decode, tuple(stop), show
        self._shown, self.text, self.over = "", "", False

    def feed(self, ids: Sequence[int], ended: bool) -> bool:
        """Takes all ids so far, the end left out; returns whether the text is over.

        Args:
            ids: of the text, from its beginning.
            ended: whether no more will come.
        """
        if self.over:
            return True
        text = self._decode(ids)
        # The one that is complete first, so that the text does not depend on how often it is looked at.
        places = [(place + len(stop), place) for stop in self._stop if (place := text.find(stop)) >= 0]
        self.over = ended or bool(places)
        text = text[: min(places)[1]] if places else text
        self.text = text.strip()
        if self._show is not None:
            self._say(self.text if self.over else self._certain(text))
        return self.over

    def _certain(self, text):
        """As much of a text as stays, whatever follows: no half character, no beginning of a stop text."""
        text = text.rstrip(_UNFINISHED)
        held = max((n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        return text[: len(text) - held].strip()

    def _say(self, text):
        if len(text) > len(self._shown) and text.startswith(self._shown):
            self._show(text[len(self._shown) :])
            self._shown = text
