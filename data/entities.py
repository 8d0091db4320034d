"""Names, dates and numbers in a text, by regular expressions alone.

Salient span masking hides what takes knowledge of the world to fill in: named entities and dates (REALM, Guu et al.
2020, section 3.4; Roberts et al. 2020, section 3 with T5). Both find them with a trained tagger and an expression for
dates. This is a stand-in that needs no model: capitalised words stand for names. It finds none in scripts without
capitals, and takes the words of headings for names.
"""

import re

from cloze.data import sentences

# What may stand between two words of one span: white space with one end of line at most.
_GAP = r"(?=\s)[^\S\n]*+\n?[^\S\n]*+"


def _uppercase():
    """The capitals of the Basic Multilingual Plane as the inside of a character class."""
    ranges = []
    for code in range(1 << 16):
        if chr(code).isupper() or chr(code).istitle():
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(rf"\u{first:04x}-\u{last:04x}" for first, last in ranges)


_MONTH = (
    r"(?:Jan(?:uary|\.)?|Feb(?:ruary|\.)?|Mar(?:ch|\.)?|Apr(?:il|\.)?|May|June?|July?|Aug(?:ust|\.)?"
    r"|Sep(?:tember|t\.?|\.)?|Oct(?:ober|\.)?|Nov(?:ember|\.)?|Dec(?:ember|\.)?)(?!\w)"
)
_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day(?!\w)"
_ALONE = r"(?:January|February|July|September|October|November|December)(?!\w)"  # months that are no other word
_DAY = r"\d{1,2}(?:st|nd|rd|th)?(?!\w)"
_YEAR = r"[12]\d{3}(?!\w)"
_OF_YEAR = rf"(?:,?{_GAP}{_YEAR})?"
_LETTERED_DATE = (  # dates that begin with a capital, which no name may swallow
    rf"(?:{_WEEKDAY},?{_GAP})?(?:{_DAY}{_GAP}(?:of{_GAP})?{_MONTH}{_OF_YEAR}|{_MONTH}{_GAP}{_DAY}{_OF_YEAR})"
    rf"|{_MONTH},?{_GAP}{_YEAR}"
    rf"|AD{_GAP}\d{{1,4}}(?!\w)"
    rf"|{_WEEKDAY}|{_ALONE}"
)
_DATE = (
    rf"(?<!\w)(?:{_LETTERED_DATE}"
    r"|\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d++)?)?(?:Z|[-+]\d{2}:?\d{2})?)?(?!\w)"
    r"|\d{1,2}(?P<mark>[/.])\d{1,2}(?P=mark)(?:\d{4}|\d{2})(?!\w|\.\d)"
    r"|\d{1,2}:\d{2}(?::\d{2})?(?:[^\S\n]?[ap](?:m|\.m\.))?(?!\w)"
    rf"|\d{{1,4}}{_GAP}(?:BCE?|CE|AD)(?!\w)"
    r"|[12]\d{3}[-\u2013](?:\d{4}|\d{2})(?![-\w])"
    r"|[12]\d{2}0s(?!\w))"
)
_NUMBER = (  # repetitions are bounded, lest a long table of digits take quadratic time
    r"(?<![\w.])[-+\u2212]?[$\u20ac\u00a3\u00a5]?(?:\d++(?:,\d{3}){0,8}(?:\.\d++){0,8}|\.\d++)(?:[eE][-+]?\d++)?"
    r"(?:st|nd|rd|th|[^\S\n]?(?:%|\u2030|\u00b0[CF]?)"
    r"|[^\S\n]?(?:percent|per[ ]cent|hundred|thousand|million|billion|trillion"
    r"|[mck\u00b5]?m|[mk]?g|[m\u00b5n]?s|[kMG]?Hz|[kKMGT]i?B|k?W|k?V))?(?!\w|\.\d)"
)
_LETTER = r"[\w\u0300-\u036f]"  # combining marks of decomposed text are no \w
_CAPITALS = _uppercase()
_UPPER = f"[{_CAPITALS}]"
_CAPITALISED = (  # U.S., or a word with hyphens, apostrophes and the like inside, but without a genitive's 's
    rf"(?!{_LETTERED_DATE})(?:(?:{_UPPER}\.){{2,}}+(?!{_LETTER})"
    rf"|{_UPPER}(?:{_LETTER}|[.&-](?={_LETTER})|['\u2019](?!s(?!{_LETTER}))(?={_LETTER}))*+)"
)
_PARTICLE = rf"(?:of(?:{_GAP}the)?|de|del|della|der|den|di|da|du|des|la|le|van|von|zu|al|bin|ibn)(?!\w)"
_NAME = rf"(?<!\w){_CAPITALISED}(?:{_GAP}(?:{_PARTICLE}{_GAP}){{0,2}}{_CAPITALISED})*"
_SALIENT = re.compile(rf"{_DATE}|{_NUMBER}|(?P<name>{_NAME})")
# What all of these may begin with: a search for one set of characters skips the rest of a text much faster.
_BEGINNING = re.compile(rf"[{_CAPITALS}\d.$\u20ac\u00a3\u00a5+\u2212-]")

# Words that begin or end no name, capitalised or not.
_FUNCTION_WORDS = frozenset(
    """a about above after again against all also although am among an and another any are as at be because been
    before being below between both but by can could did do does during each either even every few for from further
    had has have having he hence her here hers him his how however i if in into is it its itself just let many me more
    most much must my neither no nor not now of off often on once one only onto or other our out over own per perhaps
    shall she should since so some still such than that the their them then there therefore these they this those
    though through thus to too under unless until up upon us use very was we were what when where whereas whether which
    while who whom whose why will with within without would yes yet you your
    de del della der den di da du des la le van von zu al bin ibn""".split()
)
_WORD = re.compile(r"\S+")
_FIRST_WORD = re.compile(r"\w")


def spans(text):
    """Finds the names, dates and numbers of a text.

    * Names: capitalised words side by side, joined by particles such as "of the" or "van", without function words at
      either end. The first word of a sentence alone is a name only if it has two capitals, or if the text has it
      capitalised inside a sentence too. A single letter is none.
    * Dates: days, months and years in the usual orders, ISO 8601, weekdays, decades, ranges of years, times of day.
    * Numbers: with sign, currency, thousands, decimals, exponent, percent, magnitude or a unit, where there is one;
      ordinals.

    Args:
        text: a document.

    Returns:
        [(start, end)], ranges of characters in ascending order, which do not overlap and neither begin nor end with
        white space.
    """
    firsts, offset = set(), 0
    for sentence in sentences.split(text):
        if first := _FIRST_WORD.search(sentence):
            firsts.add(offset + first.start())
        offset += len(sentence)
    spans, capitalised = [], set()  # capitalised: words that are so inside of a sentence
    for match in _matches(text):
        if match.lastgroup != "name":
            spans.append((match.span(), None))
            continue
        words = [(match.start() + word.start(), word.group()) for word in _WORD.finditer(match.group())]
        while words and words[0][1].lower() in _FUNCTION_WORDS:
            del words[0]
        while words and words[-1][1].lower() in _FUNCTION_WORDS:
            del words[-1]
        capitalised.update(word for start, word in words if start not in firsts)
        if len(words) > 1 or (words and len(words[0][1]) > 1):
            start, (last, word) = words[0][0], words[-1]
            doubtful = len(words) == 1 and start in firsts and sum(map(str.isupper, word)) < 2
            spans.append(((start, last + len(word)), word if doubtful else None))
    return [span for span, doubtful in spans if doubtful is None or doubtful in capitalised]


def _matches(text):
    """The matches of _SALIENT in order, as `finditer` gives them."""
    position = 0
    while beginning := _BEGINNING.search(text, position):
        match = _SALIENT.match(text, beginning.start())
        position = (match or beginning).end()
        if match:
            yield match
