"""Two clocks of the database, as SQL: one for people, one for leases.

`utc_now` is the wall clock of the database's host, for what people read: created, started, ended, deadlines.
`steady_now` is for leases and waits, which no change of a wall clock may steal or prolong. On PostgreSQL both
are the server's clock. A SQLite file belongs to one host, so its steady clock counts from that host's boot:
see `store/boot_clock.py`. Both give ISO 8601 text in UTC with milliseconds, of fixed width: text order is
time order. Times of the two clocks are never compared.
"""

from typing import Any

from sqlalchemy import String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

LONG_AGO = "1970-01-01T00:00:00.000Z"
"""Before any time of either clock: a lease that is over, a wait that has ended."""
MOST_DOUBLINGS = 60
"""Without an end, an outage of weeks would leave the range of numbers."""
STEADY_FUNCTION = "steady_utc"
"""The SQL function that `boot_clock` adds to SQLite: seconds from now to text."""


class utc_in(FunctionElement[str]):  # noqa: N801  # reads as the function that it is
    """`seconds` from now, by the wall clock of the database's host."""

    type = String()
    inherit_cache = True
    name = "utc_in"

    def __init__(self, seconds: float) -> None:
        super().__init__(float(seconds))


class steady_in(FunctionElement[str]):  # noqa: N801  # reads as the function that it is
    """`seconds` from now, by the clock of leases."""

    type = String()
    inherit_cache = True
    name = "steady_in"

    def __init__(self, seconds: float) -> None:
        super().__init__(float(seconds))


def utc_now() -> utc_in:
    """Now, by the wall clock of the database's host."""
    return utc_in(0)


def steady_now() -> steady_in:
    """Now, by the clock of leases."""
    return steady_in(0)


def doubled_s(attempt: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many attempts: `first_s`, then twice as long each time, up to `longest_s`."""
    return min(longest_s, first_s * 2.0 ** min(attempt - 1, MOST_DOUBLINGS))


@compiles(utc_in, "sqlite")
def _wall_of_sqlite(element: utc_in, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('%+.3f seconds', {seconds}))"


@compiles(steady_in, "sqlite")
def _steady_of_sqlite(element: steady_in, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"{STEADY_FUNCTION}({compiler.process(element.clauses, **options)})"


@compiles(utc_in, "postgresql")
@compiles(steady_in, "postgresql")
def _of_postgres(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    seconds = compiler.process(element.clauses, **options)
    moment = f"(clock_timestamp() AT TIME ZONE 'UTC') + {seconds} * interval '1 second'"
    return f"""to_char({moment}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
