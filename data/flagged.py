"""From the texts of documents to ids and a byte of flags per id, as a corpus stores them."""

import itertools

import numpy as np

from cloze.data import entities, sentences
from cloze.data.corpus_files import ENTITY, ENTITY_START, SENTENCE_END


def encode(texts, tokenizer, *, document_end, flag_entities):
    """Tokenises documents sentence by sentence.

    Args:
        texts: list of str.
        tokenizer: as for `data.corpus.prepare`.
        document_end: id appended to every document that has tokens, or None.
        flag_entities: mark what `data.entities` finds in a document; the ids do not depend on it.

    Returns:
        For each text, ids int64 [n] and flags uint8 [n]; n is 0 where a text has no tokens.
    """
    pieces = [sentences.split(text) for text in texts]
    together = list(itertools.chain(*pieces))
    if flag_entities:
        ids, offsets = _unzip(tokenizer.encode_with_offsets(together))
        spans = [entities.spans(text) for text in texts]
        flags = _entity_flags(offsets, [len(piece) for piece in together], spans, [len(text) for text in texts])
    else:
        ids = tokenizer.encode_batch(together)
        flags = [np.zeros(len(piece), np.uint8) for piece in ids]
    both = iter(zip(ids, flags, strict=True))
    return [_document(list(itertools.islice(both, len(document))), tokenizer, document_end) for document in pieces]


def _document(pieces, tokenizer, document_end):
    """Joins the (ids, flags) of a document's sentences and marks where these end."""
    pieces = [(ids, flags) for ids, flags in pieces if len(ids)]
    if not pieces:
        return np.zeros(0, np.int64), np.zeros(0, np.uint8)
    ids, flags = _unzip(pieces)
    if document_end is not None:
        ids[-1], flags[-1] = np.append(ids[-1], document_end), np.append(flags[-1], np.uint8(0))
    stops = np.cumsum([len(piece) for piece in ids])
    ids, flags = np.concatenate(ids).astype(np.int64), np.concatenate(flags)
    if ids.min() < 0 or ids.max() >= tokenizer.vocab_size:
        raise ValueError(f"the tokenizer gave id {ids.max()} with vocab_size {tokenizer.vocab_size}")
    flags[stops - 1] |= SENTENCE_END
    return ids, flags


def _entity_flags(offsets, sentence_sizes, spans, text_sizes):
    """Flags the tokens that overlap entities.

    A token belongs to an entity when it holds one of its characters, white space inside of it included. An entity
    that goes over the end of a sentence is cut there: it starts again in the next.

    Args:
        offsets: for each sentence, int [n, 2], the characters of its tokens.
        sentence_sizes: characters of each sentence; the sentences are the texts, one after the other.
        spans: for each text, [(start, end)] of its entities.
        text_sizes: characters of each text.

    Returns:
        For each sentence, uint8 [n].
    """
    counts = [len(piece) for piece in offsets]
    sentence = np.repeat(np.arange(len(counts)), counts)
    bases = np.cumsum(sentence_sizes) - sentence_sizes  # all texts are laid end to end
    starts, ends = (np.concatenate(offsets) + bases[sentence, None]).T if counts else np.zeros((2, 0), np.int64)
    text_bases = np.repeat(np.cumsum(text_sizes) - text_sizes, [len(some) for some in spans])
    span_starts, span_ends = (np.array(list(itertools.chain(*spans)), np.int64).reshape(-1, 2) + text_bases[:, None]).T

    first = np.searchsorted(span_ends, starts, side="right")  # the first span that ends behind the token's start
    last = np.searchsorted(span_starts, ends, side="left") - 1  # the last that begins before its end
    inside = first <= last
    goes_on = np.zeros(len(inside), bool)  # belongs to what the token before belongs to, and to nothing new
    goes_on[1:] = inside[:-1] & (last[1:] == last[:-1]) & (sentence[1:] == sentence[:-1])
    flags = np.where(inside, np.where(goes_on, ENTITY, ENTITY | ENTITY_START), 0).astype(np.uint8)
    return np.split(flags, np.cumsum(counts)[:-1]) if counts else []


def _unzip(pairs):
    """[(a, b)] -> [a], [b]."""
    return [a for a, _ in pairs], [b for _, b in pairs]
