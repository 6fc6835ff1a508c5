"""Settings of auditing."""

from pydantic import BaseModel


class AuditingSettings(BaseModel):
    """To be filled."""
