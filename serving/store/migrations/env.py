"""Alembic's entry: runs on the connection that `migrate` hands over."""

from alembic import context

from ultraread.serving.store import (
    access_tables,  # noqa: F401  # its tables belong to the metadata
    audit_tables,  # noqa: F401  # its tables belong to the metadata
    block_tables,  # noqa: F401  # its tables belong to the metadata
    job_tables,  # noqa: F401  # its tables belong to the metadata
    operation_tables,  # noqa: F401  # its tables belong to the metadata
    webhook_tables,  # noqa: F401  # its tables belong to the metadata
)
from ultraread.serving.store.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
