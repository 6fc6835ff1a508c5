"""Where processes of the service write what they tell of themselves."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import node

ENVIRONMENT = "_ULTRAREAD_LOGS"
"""Where processes that Ray starts find their plan, as JSON."""


@dataclass(frozen=True, slots=True)
class LogPlan:
    """A folder, the least that is told, and how much of it is kept; it travels to every process."""

    folder: str
    level: str = "info"
    file_bytes: int = 50 * 2**20
    files: int = 5

    @property
    def file(self) -> Path:
        """One a machine: what several machines append to one file on a shared disk, they mix up."""
        return Path(self.folder) / f"{node() or 'ultraread'}.jsonl"

    def to_environment(self) -> dict[str, str]:
        return {ENVIRONMENT: json.dumps(asdict(self))}


def plan_of_environment() -> LogPlan | None:
    """The plan of the service that started this process; None where none did."""
    told = os.environ.get(ENVIRONMENT)
    return LogPlan(**json.loads(told)) if told else None
