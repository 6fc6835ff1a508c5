"""Settings of durability."""

from pydantic import BaseModel


class DurabilitySettings(BaseModel):
    """To be filled."""
