"""The words that are known to be technical. Whatever is not listed here is taken to identify somebody."""

import re
import tomllib
from pathlib import Path

from ultraread.datasets.identity.found import IdentityKind

_LISTS = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))


def _listed(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


QUANTITIES = _listed("quantities")
TERMS = _listed("terms")
SOFTWARE = _listed("software")
TOLD = _listed("told")
IDENTIFIERS = _listed("identifiers")
GENERIC = _listed("generic")
UNITS = _listed("units")
WORDS = UNITS | _listed("words")
FILE_WORDS = _listed("file_words")
KINDS = tuple((IdentityKind(kind), re.compile(pattern)) for kind, pattern in _LISTS["kinds"].items())
"""What a tag gives away by its name, in small letters without punctuation; the first that is found counts."""

NAMESPACE = re.compile(
    r"http://www\.openmicroscopy\.org/Schemas/(OME|SA|ROI|BinaryFile)/\d{4}-\d{2}(/ome\.xsd)?"
    r"|http://www\.w3\.org/2001/XMLSchema(-instance)?"
)
"""Addresses that every OME-XML carries."""
