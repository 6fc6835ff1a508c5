"""JSON as RFC 8259 and I-JSON (RFC 7493) have it, before anything else parses it in a way of its own."""

import json
import math
import re
from typing import Any, NoReturn

from ultraread.errors import RequestInvalid

DEEPEST = 64
MOST_VALUES = 250_000
"""Of one body: a slide of 50,000 files names each."""
LARGEST_INTEGER = 2**63 - 1
"""What both databases hold."""
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


def refuse_odd_json(body: bytes) -> None:
    """Raise RequestInvalid for what programs read in different ways, or a database does not hold.

    NaN and infinities, numbers out of range, repeated names, half characters, NUL, great depth, great number.
    """
    try:
        value = json.loads(
            body.decode(),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_named_once,
        )
    except (ValueError, RecursionError) as failure:  # UnicodeDecodeError too; their words hold what was sent
        raise RequestInvalid("the body is no JSON") from failure
    _refuse_odd_values(value)


def _refuse_odd_values(value: Any) -> None:  # noqa: ANN401  # whatever JSON holds
    """Without recursion, so that depth is a number and not a failure."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        if any(isinstance(one, str) and _UNUSABLE.search(one) for one in level):
            raise RequestInvalid("the body holds NUL or half a character")
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
        if len(level) > MOST_VALUES:
            raise RequestInvalid(f"the body holds more than {MOST_VALUES} values")
    raise RequestInvalid(f"the body is nested deeper than {DEEPEST} levels")


def _inside(value: Any) -> list[Any]:  # noqa: ANN401  # whatever JSON holds
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise RequestInvalid("the body names a field twice")
    return named


def _no_number(_name: str) -> NoReturn:
    raise RequestInvalid("the body holds NaN or an infinity, which are no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RequestInvalid("the body holds a number that is out of range")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > LARGEST_INTEGER:  # 20: the digits of the largest, and a sign
        raise RequestInvalid("the body holds a number that is out of range")
    return int(text)
