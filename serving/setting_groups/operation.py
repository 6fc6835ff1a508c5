"""Settings of operation."""

from pydantic import BaseModel


class OperationSettings(BaseModel):
    """To be filled."""
