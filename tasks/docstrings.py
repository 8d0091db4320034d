"""What a docstring consists of: its summary (PEP 257), the parameters it describes, the code it shows.

Both layouts in use are read, numpydoc's and Google's; docstrings of another layout have no parameters.
"""

import dataclasses
import io
import itertools
import keyword
import re
import tokenize

_NAME = r"(?P<name>\*{0,2}[A-Za-z_]\w*)"
_UNDERLINE = r"\n-{3,}[ ]*(?:\n|\Z)"
_NUMPY_SECTION = re.compile(
    rf"^(?:Other )?(?:Parameters|Attributes|Returns|Yields){_UNDERLINE}"
    rf"(?P<body>(?:(?!.+{_UNDERLINE}).*\n|.+\Z)*)",  # up to the line that is underlined next
    re.MULTILINE,
)
_NUMPY_ENTRY = re.compile(
    rf"^{_NAME} ?: ?(?P<type>\S.*)\n(?P<description>(?:[ \t]+\S.*(?:\n|\Z))+)",
    re.MULTILINE,
)
_GOOGLE_SECTION = re.compile(
    r"^(?:Args|Arguments|Keyword Args|Parameters|Attributes):[ ]*\n(?P<body>(?:[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)",
    re.MULTILINE,
)
_GOOGLE_ENTRY = re.compile(
    rf"^(?P<indent>[ ]+){_NAME}(?: \((?P<type>[^()\n]+)\))?:(?: +|\n(?P=indent) +)"
    r"(?P<description>\S.*(?:\n(?P=indent) +\S.*)*)",  # lines that are indented further go on
    re.MULTILINE,
)
_LAYOUTS = ((_NUMPY_SECTION, _NUMPY_ENTRY), (_GOOGLE_SECTION, _GOOGLE_ENTRY))
_PROMPTS = re.compile(r"(?:^[ \t]*(?:>>>|\.\.\.)(?: .*)?(?:\n|\Z))+", re.MULTILINE)
_PROMPT = re.compile(r"^[ \t]*(?:>>>|\.\.\.) ?", re.MULTILINE)
_RULE = re.compile(r"^\W{3,}$", re.MULTILINE)  # a line below a heading
_SENTENCE = re.compile(r"[A-Z].*\w.*[.!?]", re.DOTALL)

CODE_KINDS = (
    "keyword", "name", "attribute", "method", "function", "argument", "operator", "bracket", "separator", "number",
    "string", "comment",
)  # fmt: skip
_KINDS = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment"}
_LAYOUT_TOKENS = (tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.ENDMARKER)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One described name. `type` (None: not given) and `description` are (first, behind the last) character."""

    name: str
    type: tuple[int, int] | None
    description: tuple[int, int]


def summary_and_body(text):
    """Cuts a docstring behind its first paragraph, which is joined to one line.

    Returns:
        (summary, body); the summary is empty where the first paragraph is not a sentence, the body where nothing
        follows.
    """
    first, _, body = text.partition("\n\n")
    summary = " ".join(first.split())
    sentence = _SENTENCE.fullmatch(summary) and not _RULE.search(first)
    return summary if sentence else "", body.strip("\n")


def parameters(text):
    """Yields a Parameter for each name that a docstring describes once, in their order."""
    matches = []
    for section, entry in _LAYOUTS:
        for part in section.finditer(text):
            matches.extend(entry.finditer(text, *part.span("body")))
    names = [match["name"] for match in matches]
    for match in sorted(matches, key=lambda match: match.start()):
        if names.count(match["name"]) == 1:
            kind = match.span("type") if match["type"] else None
            yield Parameter(match["name"], kind and _stripped(text, kind), _stripped(text, match.span("description")))


def _stripped(text, span):
    """The span without white space at its ends."""
    inside = text[slice(*span)]
    return span[0] + len(inside) - len(inside.lstrip()), span[0] + len(inside.rstrip())


def code(text):
    """Yields the code of each run of lines behind `>>>` and `...`, without these prompts."""
    for match in _PROMPTS.finditer(text):
        yield _PROMPT.sub("", match.group()).rstrip("\n") + "\n"


def code_words(source):
    """Splits code into words and says what each is.

    Words are Python's tokens; strings and comments, which may hold white space, are words between it. What a name is
    depends on its surroundings: an argument stands before `=` in brackets, an attribute behind a dot, a function
    before a bracket.

    Args:
        source: Python code.

    Yields:
        one statement at a time: a list of (word, one of CODE_KINDS).

    Raises:
        SyntaxError: it is not Python that this version can read.
    """
    try:
        tokens = [
            token
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type not in _LAYOUT_TOKENS
        ]
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error
    statement, depth, previous = [], 0, ""
    for token, following in itertools.zip_longest(tokens, tokens[1:]):
        if token.type == tokenize.NEWLINE:
            yield statement
            statement, previous = [], ""
            continue
        depth += (token.string in "([{") - (token.string in ")]}")
        kind = _kind(token, previous, following.string if following else "", depth)
        statement.extend((word, kind) for word in token.string.split())
        previous = token.string
    if statement:  # a comment that nothing follows
        yield statement


def _kind(token, previous, following, depth):
    """One of CODE_KINDS, from a token, the two around it and the number of open brackets."""
    if token.type in _KINDS:
        return _KINDS[token.type]
    if token.type != tokenize.NAME:
        if token.type != tokenize.OP:  # parts of formatted strings, which Python 3.11 reads as one string
            raise SyntaxError(f"cannot say what {token.string!r} is")
        return "bracket" if token.string in "()[]{}" else "separator" if token.string in ".,:;" else "operator"
    if keyword.iskeyword(token.string):
        return "keyword"
    if previous == ".":
        return "method" if following == "(" else "attribute"
    if following == "(":
        return "function"
    return "argument" if following == "=" and depth else "name"
