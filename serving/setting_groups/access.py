"""Settings of access."""

from pydantic import BaseModel


class AccessSettings(BaseModel):
    """To be filled."""
