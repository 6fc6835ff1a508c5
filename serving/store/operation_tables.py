"""What processes of the service tell of themselves, for readiness and metrics."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.clock import steady_now
from ultraread.serving.store.tables import Json, Table


class WorkerRow(Table):
    """A process that is or was there; `seen` is when it last said so, by the clock of leases."""

    __tablename__ = "workers"
    __table_args__ = (Index("workers_by_seen", "seen"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    deployment: Mapped[str]
    body: Mapped[Json]
    """{resident_bytes, open_files, live [name/version]}"""
    seen: Mapped[str] = mapped_column(default=steady_now())


class CountRow(Table):
    """One sample of a metric that processes count: the sum over all that ever were."""

    __tablename__ = "counts"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)
    """Canonical JSON."""
    value: Mapped[float]


class SchemaRow(Table):
    """What the tables ask of the programs that use them; one row."""

    __tablename__ = "schema_needs"

    id: Mapped[int] = mapped_column(primary_key=True)
    oldest: Mapped[str]
    """The last revision that a program has to know. Raised only by a migration that takes something away."""
