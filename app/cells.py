"""Cells of the tables that the command prints."""

from rich.text import Text

from app.shown_text import shown


def cell(text: object) -> Text:
    """Return a text for rich: shown as it is, nothing in it is markup."""
    return Text(shown(text))
