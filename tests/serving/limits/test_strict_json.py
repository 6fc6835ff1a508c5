"""JSON is what RFC 8259 and I-JSON say it is, or it is refused; nothing that is refused is told back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.errors import RequestInvalid
from ultraread.serving.limits.strict_json import DEEPEST, LARGEST_INTEGER, refuse_odd_json

PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | PLAIN_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN_TEXT, inner),
    max_leaves=20,
)
ODD = {
    "nothing": b"",
    "half an object": b'{"a": 1',
    "NaN": b'{"a": NaN}',
    "an infinity": b"[-Infinity]",
    "1e400": b'{"a": 1e400}',
    "-1e400": b"[-1e400]",
    "an integer of 20 digits": b"[99999999999999999999]",
    "the first integer that no database holds": b"[9223372036854775808]",
    "an integer of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "a field twice": b'{"a": 1, "a": 2}',
    "a field twice inside": b'[{"b": {"a": 1, "\\u0061": 2}}]',
    "half a character": b'{"a": "\\ud800"}',
    "the other half": b'["\\udc00x"]',
    "half a character as a name": b'{"\\ud800": 1}',
    "NUL": b'{"a": "x\\u0000y"}',
    "NUL as a name": b'{"\\u0000": 1}',
    "a bare NUL": b'{"a": "\0"}',
    "great depth": b"[" * 100_000,
    "closed great depth": b"[" * 5000 + b"]" * 5000,
    "one level too many": b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
    "too many values": b"[" + b"0," * 300_000 + b"0]",
    "bytes that are no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "a comment": b'{"a": 1} // patient',
    "two documents": b"{}{}",
    "single quotes": b"{'a': 1}",
}


@given(PLAIN)
def test_plain_json_is_taken(value: object) -> None:
    for ascii_only in (True, False):
        refuse_odd_json(json.dumps(value, ensure_ascii=ascii_only).encode())


def test_what_only_looks_odd_is_taken() -> None:
    refuse_odd_json(b'{"a": "\\\\u0000", "b": "\\ud83d\\ude00", "c": [[1e308, 9223372036854775807]]}')
    refuse_odd_json(b"[" * DEEPEST + b"]" * DEEPEST)


@pytest.mark.parametrize("name", ODD)
def test_odd_json_is_refused(name: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        refuse_odd_json(ODD[name])
    assert "patient" not in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    try:
        refuse_odd_json(body)
    except RequestInvalid:
        return
    json.loads(body)
