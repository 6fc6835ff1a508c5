"""Settings of decoding."""

from pydantic import BaseModel


class DecodingSettings(BaseModel):
    """To be filled."""
