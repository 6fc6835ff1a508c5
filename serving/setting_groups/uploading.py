"""Settings of uploading."""

from pydantic import BaseModel


class UploadingSettings(BaseModel):
    """To be filled."""
