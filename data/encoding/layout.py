"""How a labelled example becomes tokens."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a labelled example becomes tokens; what it is made of is in tasks.base.

    Attributes:
        kind: class, regression, tag, span, choice, embedding or text.
        architecture: of the model.
        length: tokens of a text at most, these special ones included.
        start: ids before the first text.
        separator: ids between two texts.
        end: ids behind the last; of targets, too.
        pool: position that classifiers of whole texts read: "first" or "last" token; "all": they read every position.
        types: whether tokens of a second text have type 1.
        both_orders: pairs are read in both orders.
        stride, max_question: of windows over long contexts, in tokens (span).
        target_length: tokens of an answer at most (text); of decoders 0: as many as the row has room for.
        loss_on_inputs: decoders predict prompts, too (text).
        target_start: ids before an answer, which count to neither its tokens nor `target_length` (text,
            encoder-decoders).
        decoder_start: id that the decoder of an encoder-decoder reads first.
        full_prefix: the tokens of a decoder's prompt see each other in both directions (text).
        cut_left: prompts that are too long lose their beginning, not their end, as what is continued is that (text).
    """

    kind: str
    architecture: str
    length: int
    start: tuple[int, ...] = ()
    separator: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    pool: str = "first"
    types: bool = False
    both_orders: bool = False
    stride: int = 128
    max_question: int = 64
    target_length: int = 0
    loss_on_inputs: bool = False
    target_start: tuple[int, ...] = ()
    decoder_start: int = 0
    full_prefix: bool = False
    cut_left: bool = False
