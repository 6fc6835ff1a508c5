"""How a service that stops tells all its processes: by a file in the data folder, which needs no database."""

from dataclasses import dataclass
from pathlib import Path

from ultraread.serving.settings import Settings

MARK = "draining"


@dataclass(frozen=True, slots=True)
class Draining:
    """While it is on, no read is claimed, event streams end, and readiness says no."""

    mark: Path

    def begin(self) -> None:
        self.mark.touch(mode=0o600)

    def end(self) -> None:
        self.mark.unlink(missing_ok=True)

    @property
    def is_on(self) -> bool:
        return self.mark.exists()


def draining_of(settings: Settings) -> Draining:
    """Of the service that works in this data folder."""
    return Draining(settings.data_dir.resolve() / MARK)
