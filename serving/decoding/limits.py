"""What a process that decodes may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """`memory_bytes` of address space beyond the libraries; seconds of wall clock, without what is fetched.

    `processes` run at once; a slide is given up after `deaths` tiles on which its process died.
    """

    memory_bytes: int = 2**30
    open_s: float = 120.0
    tile_s: float = 30.0
    processes: int = 4
    deaths: int = 8
