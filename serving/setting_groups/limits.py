"""Settings of limits."""

from pydantic import BaseModel


class LimitsSettings(BaseModel):
    """To be filled."""
