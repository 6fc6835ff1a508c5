"""Settings of decoding: what a process that decodes a slide may take."""

from pydantic import BaseModel, Field

from ultraread.serving.decoding.limits import DecodeLimits


class DecodingSettings(BaseModel):
    """Bounds of one slide's decoding process."""

    decode_memory_mib: int = Field(
        default=1024,
        ge=64,
        description="MiB that decoding a slide may take beyond the libraries; the process that takes more "
        "fails with slide_decode_crash, and nothing else does.",
    )
    decode_open_s: float = Field(
        default=120, gt=0, description="Seconds in which the headers of a slide must be read."
    )
    decode_tile_s: float = Field(
        default=30, gt=0, description="Seconds in which one tile, or one region of a view, must be decoded."
    )
    decode_processes: int = Field(
        default=4,
        ge=1,
        description="Slides that are decoded at once for filing and admission; more of them wait. Viewing "
        "and scoring have processes of their own.",
    )
    decode_deaths: int = Field(
        default=8,
        ge=0,
        description="Tiles of a slide whose decoding may hang or crash before the slide is given up.",
    )

    @property
    def decode_limits(self) -> DecodeLimits:
        return DecodeLimits(
            memory_bytes=self.decode_memory_mib * 2**20,
            open_s=self.decode_open_s,
            tile_s=self.decode_tile_s,
            processes=self.decode_processes,
            deaths=self.decode_deaths,
        )
