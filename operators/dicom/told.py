"""A value of a header inside a sentence: short and on one line, whatever the header says."""

LONGEST_VALUE = 64  # characters, as many as the longest UID or LO has (PS3.5 section 6.2)
LONGEST_COMPLAINT = 160  # of what a library says about a data set; it may quote a value of any length


def told(value: object, *, at_most: int = LONGEST_VALUE) -> str:
    """Return a value as a sentence may hold it.

    Args:
        value: of an attribute, or an error whose words may quote one.
        at_most: how many characters; what is cut off is marked.

    >>> told(" MONOCHROME2   (odd)")
    'MONOCHROME2 (odd)'
    >>> told("x" * 60_000) == "x" * 63 + "…"
    True
    """
    # Only the beginning is looked at: a value may have millions of characters.
    begin = str(value)[: 4 * at_most]
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in begin).split())
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"
