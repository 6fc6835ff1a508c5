"""What the names of files and folders give away, as far as a name alone can show it."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from ultraread.datasets.identity.found import FILE_NAME, FOLDER_NAME, IdentityItem, IdentityKind
from ultraread.datasets.identity.judged_text import DATE, LONG_NUMBER
from ultraread.datasets.identity.words import FILE_WORDS

SHORTEST_SHARED = 4
"""Letters of a word in a name that is told to be one from the file's identity tags."""
_LETTERS = re.compile(r"[^\W\d_]+")
_LONG_NUMBER = re.compile(rf"\d{{{LONG_NUMBER},}}")
_ACCESSION = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,4}\d{2}[-_ ]\d{2,}")
"""S24-1234: a letter or a few, the year, the number."""
_MARKERS = re.compile(
    r"patient|mrn|dob|ssn|accession|born|name(?!d)|(?<![a-z])(?:mr|mrs|ms|dr|pat)(?![a-z])", re.I
)
"""Words that announce an identifier."""


def find_in_names(names: Sequence[str], known: Collection[str]) -> tuple[IdentityItem, ...]:
    """Return what each name shows; `known` are the slide's `identity_words`."""
    parts = dict.fromkeys(part for name in names for part in _parts(name))
    return tuple(item for where, part in parts for item in _of_part(where, part, known))


def identity_words(values: Sequence[str]) -> frozenset[str]:
    """The words and long numbers of identity tags that a file name may repeat."""
    found = (word.lower() for value in values for word in re.findall(r"[^\W\d_]+|\d+", value))
    return frozenset(word for word in found if len(word) >= SHORTEST_SHARED and word not in FILE_WORDS)


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """Where and what: the folders of a name, then the file."""
    *folders, file = PurePosixPath(name).parts or ("",)
    yield from ((FOLDER_NAME, folder) for folder in folders)
    yield FILE_NAME, file


def _of_part(where: str, part: str, known: Collection[str]) -> Iterator[IdentityItem]:
    stem = part.partition(".")[0] if not part.startswith(".") else part
    rest = part[len(stem) :]
    text = stem + ("" if re.fullmatch(r"(\.[A-Za-z0-9]{1,5})*", rest) and not DATE.search(part) else rest)
    for kind in _kinds(text, known):
        yield IdentityItem(where, kind, value=part)


def _kinds(text: str, known: Collection[str]) -> Iterator[IdentityKind]:
    if DATE.search(text):
        yield IdentityKind.DATE
    if _LONG_NUMBER.search(DATE.sub(" ", text)) or _ACCESSION.search(DATE.sub(" ", text)):
        yield IdentityKind.NUMBER
    if _may_name(text) or any(word in text.lower() for word in known):
        yield IdentityKind.NAME


def _may_name(text: str) -> bool:
    """A marker, or a capitalised word of three letters or more that microscopists do not call files by."""
    words = [word for word in _split_camel(text) if len(word) >= 3]
    return bool(_MARKERS.search(text)) or any(
        word[0].isupper() and word.lower() not in FILE_WORDS for word in words
    )


def _split_camel(text: str) -> list[str]:
    return [
        part
        for word in _LETTERS.findall(text)
        for part in re.findall(r"[A-Z]?[^\WA-Z\d_]+|[A-Z]+(?![a-z])", word)
    ]
