"""Pinned data comes from a mirror first, its digest is confirmed, and what cannot be had says so."""

import hashlib
from pathlib import Path

import pytest
from addresses import together

from ultraread.datasets import corpora
from ultraread.datasets.corpora import fetch, files_under, pinned_files
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import CorpusUnreachable, IntegrityFailed

FIELD = "drosophila_vnc/stack2/raw/00.tif"


@pytest.fixture
def field() -> bytes:
    """The pinned file itself, from wherever this machine has it."""
    return fetch(FIELD).read_bytes()


@pytest.fixture
def alone(field: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As on a machine without network, mirror or downloads; returns the folder that it states as mirror."""
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "elsewhere/datasets/corpora.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for scheme in ("http", "https", "all"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ULTRAREAD_DATA_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def _put(mirror: Path, content: bytes) -> Path:
    (mirror / FIELD).parent.mkdir(parents=True)
    (mirror / FIELD).write_bytes(content)
    return mirror / FIELD


def test_every_pinned_file_has_a_commit_a_digest_and_a_licence() -> None:
    assert len(pinned_files()) > 200
    for path, pinned in pinned_files().items():
        assert pinned.path == path
        assert len(pinned.commit) == 40
        assert len(pinned.sha256) == 64
        assert pinned.bytes > 0
        assert pinned.licence
        assert pinned.commit in pinned.url


def test_a_stated_mirror_comes_first(alone: Path, field: bytes) -> None:
    mirrored = _put(alone, field)
    assert fetch(FIELD) == mirrored


def test_bytes_that_are_not_the_pinned_ones_are_refused(alone: Path, field: bytes) -> None:
    _put(alone, field[:-1] + b"?")
    with pytest.raises(IntegrityFailed, match="stack2/raw/00"):
        fetch(FIELD)


def test_what_cannot_be_had_names_the_mirror_as_the_way_out(alone: Path) -> None:
    with pytest.raises(CorpusUnreachable) as refused:
        fetch(FIELD)
    assert FIELD in refused.value.what
    assert "ULTRAREAD_DATA_MIRROR" in refused.value.remedy
    assert not alone.exists()


def test_files_under_a_folder_are_sorted_and_complete() -> None:
    found = files_under("drosophila_vnc/stack2/raw")
    assert len(found) == 20
    assert found == sorted(found)
    assert files_under("drosophila_vnc/stack2/raw/") == found
    assert files_under("drosophila_vnc/stack2/ra") == []


def test_a_slides_digest_is_that_of_its_files_in_any_order(tmp_path: Path) -> None:
    one, other = tmp_path / "a.emi", tmp_path / "a.ser"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    digests = sorted(hashlib.sha256(content).hexdigest() for content in (b"one", b"other"))
    expected = hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()
    assert digest_slide(together(one, other)).sha256 == expected == digest_slide(together(other, one)).sha256
    assert sha256_of_file(one) == hashlib.sha256(b"one").hexdigest()
    assert [file.bytes for file in digest_slide(together(one, other)).files] == [3, 5]
