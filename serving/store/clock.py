"""The database's clock: one clock for all processes, so that no host's clock can steal or prolong a lease."""

from sqlalchemy import ColumnElement, func

_ISO_8601_UTC = "%Y-%m-%dT%H:%M:%fZ"
"""Milliseconds, fixed width: text order is time order."""


def utc_now() -> ColumnElement[str]:
    """Now, as ISO 8601 text in UTC."""
    return func.strftime(_ISO_8601_UTC, "now")


def utc_in(seconds: float) -> ColumnElement[str]:
    """`seconds` from now."""
    return func.strftime(_ISO_8601_UTC, "now", f"{seconds:+.3f} seconds")
