"""What the service asks of a nursery."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Birth:
    """What a new process is given beside its channel: shared memory of a size, 0 for none, and the path."""

    memory_bytes: int
    shared_bytes: int
    path: list[str]
