"""Texts that people state: seen in whole by whoever reads them, and of bounded length."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field


def plain(text: str) -> str:
    """Refuse characters that nobody sees: control, format, surrogate, private."""
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError("control characters are not taken")
    return text


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)]
Text = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(plain)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
