"""What the chain of hashes costs: a transaction with one event, alone and by several writers; verification.

python benchmarks/audit_chain.py [--postgres URL] [--events N]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from sqlalchemy import text

from ultraread.serving.audit.trail import DatabaseTrail
from ultraread.serving.audit.verify import verify_trail
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.ids import new_id

WRITERS = 8
AT_ONCE = 1000
ROW = text(
    "INSERT INTO audit_events (site, at, who, what, subject, detail) "
    "VALUES (:site, '2026', 'a', 'b', 'c', '{}')"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", help="URL of an empty database")
    parser.add_argument("--events", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"sqlite:///{folder}/audit.db", *([asked.postgres] if asked.postgres else [])]
        for url in urls:
            with closing(open_store(url)) as store:
                _measure(store, asked.events)


def _measure(store: Store, events: int) -> None:
    site, dialect = f"bench-{new_id()}", store.engine.dialect.name
    bare = [_timed(lambda: _insert(store)) for _ in range(events)]
    chained = [_timed(lambda: _append(store, site, 1)) for _ in range(events)]
    with ThreadPoolExecutor(WRITERS) as pool:
        at_once = _timed(lambda: list(pool.map(lambda _: _append(store, site, 1), range(events))))
    print(f"{dialect}: a transaction with an unchained row, median {1e3 * statistics.median(bare):.2f} ms")
    print(f"{dialect}: a transaction with a chained event, median {1e3 * statistics.median(chained):.2f} ms")
    print(f"{dialect}: {WRITERS} writers of one site, {events / at_once:.0f} events/s")
    for _ in range(20):
        _append(store, site, AT_ONCE)
    verified = _timed(lambda: _verify(store, site))
    print(f"{dialect}: verification, {(2 * events + 20 * AT_ONCE) / verified:.0f} events/s")


def _verify(store: Store, site: str) -> None:
    with store.reading() as session:
        fault = verify_trail(DatabaseTrail(session, site)).fault
    if fault:
        raise SystemExit(fault.told)


def _insert(store: Store) -> None:
    with store.writing() as session:
        session.execute(ROW, {"site": "unchained"})


def _append(store: Store, site: str, count: int) -> None:
    with store.writing() as session:
        for _ in range(count):
            AuditLog(session, site).append("a", "b", "c")


def _timed(step: Callable[[], object]) -> float:
    """Seconds of a step."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
