"""Where sentences end, well enough for pairs of sentences and without a model.

A sentence ends at `.`, `!` or `?` when white space and then a capital, a digit, a quotation mark or an opening bracket
follow, and wherever a blank line follows. Abbreviations ("Dr. Smith") end one too many; sentence pairs do not mind.
"""

import re

_CLOSING = "\"')\\]}\u2019\u201d\u00bb"
_OPENING = "\"'([{<`*\u2018\u201c\u00ab"
_END = re.compile(
    rf"[.!?][{_CLOSING}]*(?=\s+(\S))"  # a full stop, whatever closes with it, and what comes next
    r"|(?<=\S)(?=\s*\n\s*\n)"  # or the end of a paragraph
)


def split(text):
    """Cuts a text into sentences.

    Every sentence but the first begins with the white space before it. So a tokenizer that looks no further than
    white space (WordPiece, byte-level BPE, SentencePiece) gives the same ids sentence by sentence as for the whole.

    Args:
        text: any string.

    Returns:
        list[str]: the sentences in order; joined without a separator they are `text`. Empty for an empty text.
    """
    pieces, start = [], 0
    for match in _END.finditer(text):
        follower, end = match.group(1), match.end()
        if follower and not (follower.isupper() or follower.isdigit() or follower in _OPENING):
            continue
        if end > start:
            pieces.append(text[start:end])
            start = end
    if start < len(text):
        pieces.append(text[start:])
    return pieces
