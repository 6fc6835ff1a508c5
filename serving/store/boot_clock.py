"""The clock of leases in a SQLite database: the host's seconds since boot, which nobody can set.

It is told as text like any other time. For that, the first process of each boot notes what the wall clock
said when the machine's clock since boot stood at zero; all processes count from that note, however the wall
clock is changed later. With a new boot all leases of the boot before are over: their owners are.
"""

import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import LONG_AGO, STEADY_FUNCTION
from ultraread.serving.store.job_tables import BootRow
from ultraread.serving.store.tables import OutboxRow, ReadRow, ReadState

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux draws one with each boot; containers see that of their host."""


@dataclass(slots=True)
class BootClock:
    """Seconds since boot as a time; `zero_at` (seconds since 1970) is not known before `set_by`."""

    zero_at: float | None = None

    def install(self, connection: Connection) -> None:
        """Let SQL on this connection ask for the time."""
        connection.create_function(STEADY_FUNCTION, 1, self.text_in)

    def text_in(self, seconds: float) -> str:
        """`seconds` from now."""
        if self.zero_at is None:
            raise RuntimeError("the clock of leases is not set")
        return _text(self.zero_at + _since_boot() + seconds)

    def set_by(self, session: Session) -> None:
        """Take the note of this boot, or make it; a note of another boot ends what that boot began."""
        rows = {row.boot_id: row for row in session.query(BootRow)}
        boot_id = _boot_id()
        if boot_id not in rows:
            if rows:
                end_what_others_began(session)
            rows[boot_id] = BootRow(boot_id=boot_id, zero_at=_text(time.time() - _since_boot()))
            session.execute(delete(BootRow))
            session.add(rows[boot_id])
        self.zero_at = dt.datetime.fromisoformat(rows[boot_id].zero_at).timestamp()


def end_what_others_began(session: Session) -> None:
    """Of a boot, or an installation, that is no more: leases and waits by its clock are over."""
    running = update(ReadRow).where(ReadRow.state == ReadState.RUNNING.value)
    session.execute(running.values(lease=LONG_AGO))
    session.execute(update(OutboxRow).where(OutboxRow.sent.is_(None)).values(due=LONG_AGO))


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _since_boot() -> float:
    """Seconds, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _text(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
