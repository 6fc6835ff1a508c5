"""Sums of what all processes count, so that whichever of them is asked tells the same."""

import json
from collections.abc import Iterator, Mapping

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ultraread.serving.metrics import Sample
from ultraread.serving.store.engine import Store
from ultraread.serving.store.operation_tables import CountRow


def add(store: Store, counted: Mapping[Sample, float]) -> None:
    """Add to the sums; always in one order, so that no two processes wait for each other in a circle."""
    insert = postgresql.insert if store.engine.dialect.name == "postgresql" else sqlite.insert
    rows = [
        {"name": name, "labels": json.dumps(dict(labels), sort_keys=True), "value": value}
        for (name, labels), value in sorted(counted.items())
    ]
    if not rows:
        return
    with store.writing() as session:
        added = insert(CountRow).values(rows)
        raised = {"value": CountRow.value + added.excluded.value}
        session.execute(added.on_conflict_do_update(index_elements=["name", "labels"], set_=raised))


def sums(session: Session) -> Iterator[tuple[Sample, float]]:
    """Every sum, in the order of names and labels."""
    for row in session.scalars(select(CountRow).order_by(CountRow.name, CountRow.labels)):
        yield (row.name, tuple(sorted(json.loads(row.labels).items()))), row.value
