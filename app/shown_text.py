"""Texts from outside (headers, file names, answers of peers, rows of the queue), made fit for a terminal or a log.

They are cut where they are longer than anybody reads, control characters (escape sequences of a terminal among them)
become a replacement character, and nothing in them is markup: a Series Description of `[/X]` is shown as it is.
"""

import unicodedata

LONGEST_SHOWN = 4_000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Cc: control characters; Cf: invisible ones, which also turn the direction of writing; Cs: halves of characters.
HIDDEN = frozenset({"Cc", "Cf", "Cs"})


def shown(text: object, *, longest: int = LONGEST_SHOWN) -> str:
    r"""Return a text of one line (or several) without control characters, cut where it is too long.

    Args:
        text: anything; its `str` is taken.
        longest: characters that are kept.

    >>> shown("a\x1b[31mb", longest=6)
    'a�[31…'
    """
    words = str(text)
    if len(words) > longest:
        words = f"{words[: longest - 1]}…"
    if words.isascii() and words.isprintable():
        return words
    return "".join(each if each == "\n" or unicodedata.category(each) not in HIDDEN else REPLACEMENT for each in words)
