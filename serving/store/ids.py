"""Ids that sort by the time they were made, and that nobody can guess."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case: no i, l, o, u


def new_id() -> str:
    """26 characters: 48 bits of milliseconds since 1970, then 80 random bits (the layout of a ULID)."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def seconds_of(made_id: str) -> float:
    """When an id was made, in seconds since 1970. Raises ValueError for what is no id."""
    if len(made_id) != 26:
        raise ValueError(made_id)
    number = 0
    for letter in made_id:
        number = number << 5 | _ALPHABET.index(letter)
    return (number >> 80) / 1000
