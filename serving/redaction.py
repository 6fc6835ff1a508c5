"""What no log line may hold: secrets, and what could name a patient. The last net, no licence to log them."""

import re
from collections.abc import MutableMapping
from typing import Any

SECRET_FIELDS = re.compile(r"(?i)(password|passwd|secret|token|authorization|cookie|api_?key|credential)")
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 [secret]"),
    (re.compile(r"(?i)((?:password|passwd|secret|token|api_?key|authorization|cookie)\w{0,40}\s*[=:]\s*)[^\s,;&]+"),
     r"\1[secret]"),
    (re.compile(r"://[^/\s:@]*:[^/\s@]+@"), "://[secret]@"),
    (re.compile(r"\bur[a-z]?_[A-Za-z0-9_-]{16,}"), "[secret]"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), "[secret]"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "[secret]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
     "[secret]"),
)  # fmt: skip
_SLIDE_NAMES = "tiff?|svs|scn|dm[34]|mrc|emd|ser|emi|dcm|zarr|png|jpe?g|bmp|ndpi|h5"
_NAMES = (
    (re.compile(r"""(["'])(?:[a-z0-9]+://|/)[^"'\n/]*/[^"'\n]*\1"""), "[path]"),
    (re.compile(r"(?<![\w/:.])/(?:[^\s/\"']+/)+[^\s\"',;:)]*"), "[path]"),
    (re.compile(r"\bs3://\S+"), "[path]"),
    (re.compile(rf"(?i)(?<![^\s/\"'=])[^\s/\"'=]+\.(?:{_SLIDE_NAMES})\b"), "[file]"),
    (re.compile(r"\b[^\W\d_]+(?:\^[^\W\d_]+)+\^*"), "[name]"),
)  # fmt: skip
"""Paths, names of slide files, and names of people as DICOM writes them (DOE^JANE).

Each takes time in proportion to the text: a library may log what somebody sent."""
_TOKEN = re.compile(r"token:[\w.-]{1,64}:[0-9a-z]{8}", re.ASCII)
"""What the trail calls a token: its name and its prefix, neither of which lets anybody in."""
_KEPT = frozenset({"exception", "route", "time", "logger", "level", "deployment", "request_id", "read_id"})
"""Made by the service itself, from nothing that a caller chose."""


def without_secrets(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
    """A structlog processor: every text without secrets, paths and names."""
    for name, value in fields.items():
        if SECRET_FIELDS.search(name):
            fields[name] = "[secret]"
        elif isinstance(value, str) and name not in _KEPT and not _is_token(name, value):
            fields[name] = redacted(value)
    return fields


def _is_token(name: str, value: str) -> bool:
    return name == "who" and _TOKEN.fullmatch(value) is not None


def redacted(text: str) -> str:
    """The text without what is known to be secret, or a path, or a name."""
    for pattern, instead in (*_SECRETS, *_NAMES):
        text = pattern.sub(instead, text)
    return text
