"""Texts in the cells of tables: a table program that opens one takes none of them for a formula."""

import re
from typing import TypeVar

Value = TypeVar("Value")

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a formula begins; with apostrophes before it, so that `text_of` gives back what was written."""


def as_cell(value: Value) -> Value | str:
    """What is written into a cell: a text that begins as a formula gets an apostrophe; numbers stay."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def text_of(cell: str) -> str:
    """The text that `as_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
