"""Parts in any order, twice, overlapping, from processes that die: the file or a gap, never a lie."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from ultraread.errors import (
    NotFound,
    QuotaExceeded,
    UploadChecksumMismatch,
    UploadConflict,
    UploadExpired,
)
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import UploadRow
from ultraread.serving.store.uploads import Part, UploadLimits, Uploads, ranges_of

LIMITS = UploadLimits(file_bytes=10**7, site_bytes=10**7, site_files=5000, expires_s=3600)
FILE = bytes(range(1, 201))
WRITER = """
import random, sys, tempfile
from pathlib import Path
from ultraread.errors import Unavailable
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.uploads import Part, UploadLimits, Uploads

url, folder, upload, file, seed = sys.argv[1:]
data, chance = Path(file).read_bytes(), random.Random(int(seed))
uploads = Uploads(open_store(url), Path(folder), UploadLimits(10**8, 10**8, 10, 3600))
print("ready", flush=True)
while True:
    start = chance.randrange(0, len(data), 50_000)
    count = min(chance.randrange(30_000, 300_000), len(data) - start)
    with tempfile.TemporaryFile() as staged:
        staged.write(data[start : start + count])
        staged.flush()
        try:
            row = uploads.put(upload, Part(start, len(data), count, staged))
        except Unavailable:
            continue
    if row.received == len(data):
        break
"""


@pytest.fixture
def uploads(store: Store, tmp_path: Path) -> Uploads:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return Uploads(store.of_site("north"), folder, LIMITS)


def put(
    uploads: Uploads, upload: str, start: int, data: bytes, total: int = len(FILE), sha256: str | None = None
) -> UploadRow:
    with tempfile.TemporaryFile() as staged:
        staged.write(data)
        staged.flush()
        return uploads.put(upload, Part(start, total, len(data), staged), sha256)


def opened(uploads: Uploads, size: int = len(FILE), sha256: str | None = None) -> str:
    return uploads.open(os.urandom(8).hex(), "a.tif", size, sha256).id


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lies(uploads: Uploads, upload: str, data: bytes) -> list[tuple[int, int]]:
    """Ranges that the row tells of and the disk does not hold."""
    row = uploads.find(upload)
    held = uploads.path(row).read_bytes()
    return [(start, end) for start, end in ranges_of(row) if held[start:end] != data[start:end]]


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Parts that cover the file, some of them twice or overlapping, shuffled."""
    cuts = sorted({0, len(FILE), *draw(st.lists(st.integers(0, len(FILE)), max_size=12))})
    cover = list(pairwise(cuts))
    more = draw(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(1, 80)), max_size=6))
    again = [(start, min(start + count, len(FILE))) for start, count in more]
    return draw(st.permutations(cover + again))


@pytest.mark.parametrize("examples", [15, pytest.param(1000, marks=pytest.mark.full)])
def test_any_order_of_parts_gives_the_file(uploads: Uploads, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None)
    @given(order=orders(), digest_at=st.integers(0, 20))
    def each(order: list[tuple[int, int]], digest_at: int) -> None:
        upload = opened(uploads)
        for number, (start, end) in enumerate(order):
            stated = sha256_of(FILE) if number == digest_at else None
            put(uploads, upload, start, FILE[start:end], sha256=stated)
        row = uploads.find(upload)
        assert (ranges_of(row), row.received) == ([(0, len(FILE))], len(FILE))
        assert uploads.path(row).read_bytes() == FILE
        uploads.drop(row)

    each()


def test_other_bytes_are_refused_and_change_nothing(uploads: Uploads) -> None:
    upload = opened(uploads)
    put(uploads, upload, 50, FILE[50:100])
    other = FILE[20:60][:-1] + bytes([FILE[59] ^ 1])
    with pytest.raises(UploadConflict):
        put(uploads, upload, 20, other)
    with pytest.raises(UploadConflict):
        put(uploads, upload, 0, FILE[:10], total=201)
    assert ranges_of(uploads.find(upload)) == [(50, 100)]
    put(uploads, upload, 0, FILE)
    assert lies(uploads, upload, FILE) == []


def test_a_whole_that_is_not_what_its_digest_says_is_thrown_away(uploads: Uploads) -> None:
    upload = opened(uploads, sha256=sha256_of(FILE))
    put(uploads, upload, 100, FILE[100:-1] + bytes([FILE[-1] ^ 1]))
    before = uploads.path(uploads.find(upload))
    with pytest.raises(UploadChecksumMismatch):
        put(uploads, upload, 0, FILE[:100])
    row = uploads.find(upload)
    assert (row.ranges, row.received, uploads.path(row).stat().st_size) == ([], 0, 0)
    assert not before.exists()
    put(uploads, upload, 0, FILE, sha256=sha256_of(FILE))
    assert uploads.path(uploads.find(upload)).read_bytes() == FILE


def test_a_digest_that_comes_after_the_last_part_is_held_against_the_whole(uploads: Uploads) -> None:
    upload = opened(uploads)
    put(uploads, upload, 0, FILE)
    assert put(uploads, upload, 0, FILE[:5], sha256=sha256_of(FILE)).sha256 == sha256_of(FILE)
    with pytest.raises(UploadConflict):
        put(uploads, upload, 0, FILE[:5], sha256=sha256_of(b"another"))
    another = opened(uploads)
    put(uploads, another, 0, FILE)
    with pytest.raises(UploadChecksumMismatch):
        put(uploads, another, 0, FILE[:5], sha256=sha256_of(b"another"))


def test_an_upload_that_an_older_replica_began_goes_on(uploads: Uploads) -> None:
    upload = opened(uploads)
    uploads.path(uploads.find(upload)).write_bytes(FILE[:70])
    with uploads.store.writing() as session:
        session.execute(update(UploadRow).where(UploadRow.id == upload).values(received=70))
    assert ranges_of(put(uploads, upload, 60, FILE[60:90])) == [(0, 90)]
    with pytest.raises(UploadConflict):
        put(uploads, upload, 0, b"x" + FILE[1:10])


def test_processes_that_write_at_once_and_die_leave_the_file_or_gaps(
    uploads: Uploads, database_url: str, tmp_path: Path
) -> None:
    data, file = os.urandom(3 * 10**6), tmp_path / "sent"
    file.write_bytes(data)
    upload = opened(uploads, len(data))
    arguments = [sys.executable, "-c", WRITER, database_url, str(uploads.folder), upload, str(file)]
    writers = [
        subprocess.Popen([*arguments, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(3)
    ]
    for each in writers:
        assert each.stdout is not None
        each.stdout.readline()
    for dying in writers[:2]:
        time.sleep(0.15)
        dying.send_signal(signal.SIGKILL)
        assert lies(uploads, upload, data) == []
    assert writers[2].wait(timeout=60) == 0
    for each in writers:
        each.communicate()
    assert uploads.path(uploads.find(upload)).read_bytes() == data


def test_a_site_has_its_quota_of_files_and_bytes_whoever_asks_at_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    limits = UploadLimits(file_bytes=1000, site_bytes=3000, site_files=5, expires_s=3600)
    sites = [Uploads(store.of_site(site), folder, limits) for site in ("north", "south")]

    def announced(uploads: Uploads, size: int) -> str | None:
        try:
            return opened(uploads, size)
        except QuotaExceeded:
            return None

    for size, fit in ((10, 5), (1000, 3)):
        with ThreadPoolExecutor(8) as pool:
            wanted = [pool.submit(announced, site, size) for _ in range(10) for site in sites]
        ids = [each.result() for each in wanted]
        assert [sum(one is not None for one in ids[number::2]) for number in range(2)] == [fit, fit]
        for number, one in enumerate(ids):
            if one is not None:
                sites[number % 2].drop(sites[number % 2].find(one))
        assert list(folder.iterdir()) == []


def test_an_upload_that_nobody_goes_on_with_is_thrown_away(uploads: Uploads) -> None:
    upload, kept = opened(uploads), opened(uploads)
    put(uploads, upload, 0, FILE[:10])
    with uploads.store.writing() as session:
        session.execute(update(UploadRow).where(UploadRow.id == upload).values(touched=utc_in(-3601)))
    with pytest.raises(UploadExpired):
        put(uploads, upload, 10, FILE[10:20])
    left = uploads.folder / "left-behind"
    left.mkdir()
    os.utime(left, (0, 0))
    assert uploads.expire() == 1
    with pytest.raises(NotFound):
        uploads.find(upload)
    assert [each.name for each in uploads.folder.iterdir()] == [kept]
