"""Archives made to do harm: members that lead elsewhere or are no files, and bytes without end."""

import copy
import gzip
import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable

BOMB_BYTES = 8 * 2**20
LINK, DEVICE = 0o120777, 0o060666
Change = Callable[[zipfile.ZipFile], object]


def zipped(
    *members: tuple[str, bytes],
    mode: int = 0o100644,
    change: Change = lambda archive: None,
    method: int = zipfile.ZIP_DEFLATED,
    extra: bytes = b"",
) -> bytes:
    """A zip of these members, whatever they are called; `mode` says what kind of file they are."""
    sink = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(sink, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, stored in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.compress_type, entry.external_attr, entry.extra = method, mode << 16, extra
            archive.writestr(entry, stored)
        change(archive)
    return sink.getvalue()


def _overlapping(archive: zipfile.ZipFile) -> None:
    """Nine more names for the bytes of the first member."""
    for number in range(9):
        again = copy.copy(archive.filelist[0])
        again.filename = f"again-{number}"
        archive.filelist.append(again)


UNSAFE: dict[str, bytes] = {
    "../x": zipped(("../x", b"1")),
    "../ inside": zipped(("a/../../x", b"1")),
    "absolute": zipped(("/x", b"1")),
    "backslash": zipped(("..\\x", b"1")),
    "drive": zipped(("C:x", b"1")),
    "line break": zipped(("a\nb", b"1")),
    "symlink": zipped(("x", b"/etc/passwd"), mode=LINK),
    "device": zipped(("x", b""), mode=DEVICE),
    "duplicate": zipped(("x", b"1"), ("x", b"2")),
    "name case clash": zipped(("s/Findings.json", b"1"), ("s/findings.json", b"2")),
    "letters of two spellings": zipped(("\u00e9", b"1"), ("e\u0301", b"2")),
    "a file as a folder": zipped(("s", b"1"), ("s/x", b"2")),
    "a folder alone": zipped(("s/", b"")),
    "a name that is too long": zipped(("n" * 256, b"1")),
    "too deep": zipped(("/".join("abcdefghi"), b"1")),
}
FLAT = zipped(("slide.tif", bytes(BOMB_BYTES)))
OVERLAPPING = zipped(("slide.tif", bytes(2**20)), change=_overlapping)
NESTED = zipped(("inner.zip", FLAT))


def tarred(mode: str = "w") -> bytes:
    """A tar with all of it: `../x`, absolute, links, a device, a pipe, a name thrice."""
    sink = io.BytesIO()
    kinds = {
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "device": tarfile.BLKTYPE,
        "pipe": tarfile.FIFOTYPE,
    }
    with tarfile.open(None, mode, sink) as archive:  # type: ignore[call-overload]  # any mode
        for name in ("../x", "/etc/x", *kinds, "x", "x", "X"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kinds.get(name, tarfile.REGTYPE), "/etc/passwd"
            archive.addfile(member)
    return sink.getvalue()


ARCHIVES: dict[str, bytes] = {
    **{f"zip, {name}": stored for name, stored in UNSAFE.items()},
    "zip bomb, flat": FLAT,
    "zip bomb, overlapping": OVERLAPPING,
    "zip bomb, nested": NESTED,
    "zip, empty": zipped(),
    "tar": tarred(),
    "tar, gzip": tarred("w:gz"),
    "tar, bzip2": tarred("w:bz2"),
    "tar, xz": tarred("w:xz"),
    "gzip bomb, flat": gzip.compress(bytes(BOMB_BYTES)),
    "gzip bomb, nested": gzip.compress(gzip.compress(bytes(BOMB_BYTES))),
    "tar bomb": gzip.compress(b"slide.tif".ljust(257, b"\0") + b"ustar\0" + bytes(BOMB_BYTES)),
}
"""What a slide may be named as, and none is unpacked."""
