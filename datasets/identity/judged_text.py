"""Whether a text, date or number can stand in an output, and if not, what it is."""

import re

from ultraread.datasets.identity.found import IdentityKind
from ultraread.datasets.identity.words import (
    GENERIC,
    IDENTIFIERS,
    KINDS,
    NAMESPACE,
    QUANTITIES,
    SOFTWARE,
    TERMS,
    TOLD,
    UNITS,
    WORDS,
)
from ultraread.datasets.own_texts import DERIVATION, SHA256, SOURCE_SHA256

LONG_NUMBER = 5
"""Digits from which a number can be an accession or record number; those of years and fields have fewer."""
BURNT_IN_NUMBER = 4
"""Digits from which a number in pixels can be an accession number, where no unit says what it measures."""
LONGEST_VALUE = 4096
"""Characters of a value that is judged by its form; a longer one is held as text without a look at it."""
LONGEST_WORD = 40
"""Characters of a word that may be a number or a known word; patterns are tried on no longer ones."""
TRUTHS = ("true", "false", "yes", "no", "none", "null")

_NUMBER = re.compile(r"[-+±]?\d*\.?\d+(?:e[-+]?\d+)?", re.IGNORECASE)
_MEASURE = re.compile(r"[-+±~]?(\d*[.,]?\d+(?:e[-+]?\d+)?)([a-zµμå°%]*)", re.IGNORECASE)
_MAGNIFICATION = re.compile(r"[x\xd7]\d{1,3}(?:[.,]?\d{3})?k?|\d{1,3}(?:[.,]?\d{3})?k?[x\xd7]", re.IGNORECASE)
_INITIALS = re.compile(
    r"(?<!\d)(?<!\d )\b[A-Z]\.?[ ,]+[A-Z][a-z]{2,}|\b[A-Z]\.[A-Z]?\.?[A-Z][a-z]{2,}"
    r"|\b[A-Z][a-z]{2,}, ?[A-Z]\b|\b[A-Z][a-z]{2,} [A-Z]\."
)
"""`K. Falcon`, `K Falcon`, `K.Falcon`, `Falcon, K`, `Falcon K.`: people are called by known words, too."""
_TIMES = ("x", "\xd7")
_VERSION = re.compile(r"v?\d+(?:\.\d+)+(?:[a-z]+\d*)?", re.IGNORECASE)
_BREAK = re.compile(r"[\s,;|/=()\[\]{}<>:\"'#&*@]+")
_UID = re.compile(r"[0-2](?:\.\d+){4,}")
STANDARD_UIDS = "1.2.840.10008."
"""The root of the UIDs that DICOM itself defines, of transfer syntaxes and classes."""
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_YEAR, _MONTH, _DAY = r"(?:19|20)\d{2}", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE = re.compile(
    rf"(?<!\d)(?:{_YEAR}([-_./: ]?){_MONTH}\1{_DAY}|{_DAY}([-_./]){_MONTH}\2(?:{_YEAR}|\d{{2}})"
    rf"|{_MONTH}([-_./]){_DAY}\3(?:{_YEAR}|\d{{2}})|{_DAY}[-_. ]?(?:{_MONTHS})[a-z]*[-_. ,]*{_YEAR}"
    rf"|(?:{_MONTHS})[a-z]*[-_. ]+{_DAY}[-_., ]+{_YEAR})(?!\d)",
    re.IGNORECASE,
)
"""Year, month and day in the usual orders, with or without separators."""
TIME = re.compile(r"(?<!\d)[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?!\d)")
_ADDRESS = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,64}\.\w|\b[a-z]\w{1,9}://|\\\\\w|[a-z]:\\|(?:^|\s)/\w+/\w"
    r"|^(?:\+|00)\d[\d ()-]{7,}$",
    re.IGNORECASE,
)
"""E-mail, URL, path, telephone number."""


def kind_of_tag(name: str, value: str) -> IdentityKind | None:
    """What a tag gives away; None where name and value are technical.

    `name` is the last part of the format's own name. It is technical where it is listed and the value is a
    number, unit or known word; under any other name, numbers of fewer than LONG_NUMBER digits are.
    """
    plain, value = plain_name(name), value.strip().strip("\0").strip()
    if len(value) > LONGEST_VALUE:
        return _kind_of_name(plain) or IdentityKind.TEXT
    if not any(character.isalnum() for character in value) or _is_technical(plain, value):
        return None
    return kind_of_value(value) or _kind_of_name(plain) or IdentityKind.TEXT


def kind_of_burnt_in(text: str) -> IdentityKind | None:
    """What text in pixels gives away; None where it is a length, a magnification or technical words."""
    if any(_is_joined_number(word) for word in words_of(text)) or _holds_bare_number(words_of(text)):
        return kind_of_value(text) or IdentityKind.NUMBER
    if _INITIALS.search(text):
        return IdentityKind.NAME
    if all(_is_plain_word(word) or _MAGNIFICATION.fullmatch(word) for word in words_of(text)):
        return IdentityKind.DATE if DATE.search(text) or TIME.search(text) else None
    return kind_of_value(text) or IdentityKind.TEXT


def kind_of_value(value: str) -> IdentityKind | None:
    """What a value is by its own form: a UID, date, address or long number."""
    if _UID.fullmatch(value) or _UUID.search(value):
        return IdentityKind.UID
    if _ADDRESS.search(value):
        return IdentityKind.ADDRESS
    if DATE.search(value) or TIME.search(value):
        return IdentityKind.DATE
    digits = re.sub(r"[-_. ]", "", value)
    return IdentityKind.NUMBER if digits.isdigit() and len(digits) >= LONG_NUMBER else None


def is_technical_text(text: str) -> bool:
    """Whether a text, as a microscope's or camera's name, holds nothing but known words and short numbers."""
    return not DATE.search(text) and all(_is_plain_word(word) for word in words_of(text))


def words_of(text: str) -> list[str]:
    return [word for word in _BREAK.split(text) if word.strip("-_.+")]


def plain_name(name: str) -> str:
    """Small letters and digits only: formats spell one name in many ways."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_listed(name: str) -> bool:
    """Whether a tag's name is one of a list, so that it can be told; others may themselves be somebody's."""
    plain = plain_name(name)
    return plain in QUANTITIES or plain in TERMS or plain in TOLD


def _is_technical(name: str, value: str) -> bool:
    if name in IDENTIFIERS:
        return False
    if name in GENERIC:
        return _is_measured(words_of(value))
    if _is_our_own(name, value) or _is_standard(value):
        return True
    if any(not found[0].isdigit() for found in DATE.finditer(value)) and name not in SOFTWARE:
        return False
    return all(_allows(name, word) for word in words_of(value))


def _is_standard(value: str) -> bool:
    """A UID that DICOM itself defines, or the namespaces of OME."""
    if value.startswith(STANDARD_UIDS) and _UID.fullmatch(value):
        return True
    return all(NAMESPACE.fullmatch(word) for word in value.split())


def _is_our_own(name: str, value: str) -> bool:
    """What `convert` wrote about pixels and scale."""
    if name == plain_name(SOURCE_SHA256):
        return SHA256.fullmatch(value) is not None
    return name == "derivationdescription" and DERIVATION.fullmatch(value) is not None


def _allows(name: str, word: str) -> bool:
    """Whether a word may stand under this name."""
    if len(word) > LONGEST_WORD:
        return False
    if name in QUANTITIES:
        return _is_plain_word(word) or _measure(word) or _NUMBER.fullmatch(word) is not None
    if name in SOFTWARE:
        return _is_plain_word(word) or _VERSION.fullmatch(word) is not None
    if name in TERMS:
        return _is_plain_word(word)
    return word.lower() in TRUTHS or (_NUMBER.fullmatch(word) is not None and not _is_long(word))


def _is_plain_word(word: str) -> bool:
    if len(word) > LONGEST_WORD:
        return False
    parts = [part for part in re.split(r"[.+_-]", word) if part]
    return (_measure(word) and not _is_long(word)) or all(
        part.lower() in WORDS or (_measure(part) and not _is_long(part)) for part in parts
    )


def _measure(word: str) -> bool:
    found = _MEASURE.fullmatch(word)
    return found is not None and (not found[2] or found[2].lower() in UNITS)


def _is_long(word: str) -> bool:
    """A whole number of many digits; fractions and powers of ten are measured, not given to anybody."""
    return re.fullmatch(rf"\D*\d{{{LONG_NUMBER},}}\D*", word) is not None


def _is_measured(words: list[str]) -> bool:
    """`11.5 nm`, `11.5nm`: one number with its unit."""
    found = _MEASURE.fullmatch("".join(words)) if len(words) <= 2 else None
    return found is not None and found[2].lower() in UNITS


def _holds_bare_number(words: list[str]) -> bool:
    """Whether a number of BURNT_IN_NUMBER digits or more stands without a unit behind it, or x beside it."""
    between = zip(["", *words], words, [*words[1:], ""], strict=False)
    return any(
        re.fullmatch(rf"\d{{{BURNT_IN_NUMBER},}}", word)
        and before.lower() not in _TIMES
        and after.lower() not in {*UNITS, *_TIMES}
        for before, word, after in between
    )


def _is_joined_number(word: str) -> bool:
    """`007-12-34`: short numbers that together are a long one."""
    return "-" in word and _is_long(word.replace("-", ""))


def _kind_of_name(name: str) -> IdentityKind | None:
    return next((kind for kind, pattern in KINDS if pattern.search(name)), None)
