"""The queue as it should be, in memory: no time, no transactions, no epochs of anybody else."""

from dataclasses import dataclass, field

LOST, LATE, DONE = "lost", "late", "done"


@dataclass(slots=True)
class ModelRead:
    site: str
    urgent: bool
    state: str = "queued"
    error: str | None = None
    epoch: int = 0
    leased: bool = False
    attempts: int = 0
    done: int = 0
    cancelled: bool = False
    late: bool = False
    runs: dict[int, int] = field(default_factory=dict)
    scored_by: dict[int, int] = field(default_factory=dict)

    @property
    def unowned(self) -> bool:
        return self.state == "queued" or (self.state == "running" and not self.leased)

    def end(self, state: str, error: str | None = None) -> None:
        self.state, self.error, self.leased = state, error, False


@dataclass(slots=True)
class JobsModel:
    max_attempts: int
    reads: dict[str, ModelRead] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)

    def claim(self) -> str | None:
        for read in self.reads.values():
            if read.unowned and read.cancelled:
                read.end("cancelled", "read_cancelled")
            elif read.unowned and read.attempts >= self.max_attempts:
                read.end("failed", "read_attempts_exhausted")
            elif read.unowned and read.late:
                read.end("failed", "read_deadline_passed")
        free = [name for name, read in self.reads.items() if read.unowned]
        if not free:
            return None
        name = min(free, key=self._place)
        read = self.reads[name]
        read.state, read.leased = "running", True
        read.epoch, read.attempts = read.epoch + 1, read.attempts + 1
        self.turns[read.site] = 1 + max(self.turns.values(), default=0)
        return name

    def _place(self, name: str) -> tuple[bool, int, int, str]:
        read = self.reads[name]
        running = sum(other.site == read.site and other.leased for other in self.reads.values())
        return not read.urgent, running, self.turns.get(read.site, 0), name

    def write(self, name: str, epoch: int, what: str, number: int = 0) -> str:
        """What an owner of this epoch gets for beat, checkpoint, pause, release, finish or fail."""
        read = self.reads[name]
        ends = {"finish": ("succeeded", None), "fail": ("failed", "slide_truncated")}
        if what in ends and (read.epoch, read.state, read.error) == (epoch, *ends[what]):
            return DONE  # it was written, and the answer got lost
        if (read.epoch, read.state) != (epoch, "running"):
            return LOST
        if what in {"beat", "checkpoint"} and read.late:
            return LATE
        read.leased = what != "release"
        if what == "checkpoint":
            if read.scored_by.get(number) != epoch:
                read.runs[number], read.scored_by[number] = read.runs.get(number, 0) + 1, epoch
            if number + 1 > read.done:
                read.done, read.attempts = number + 1, 0
        elif what in {"pause", "release"}:
            read.attempts = max(0, read.attempts - 1)
        elif what in ends:
            read.end(*ends[what])
        return DONE

    def cancel(self, name: str) -> None:
        read = self.reads[name]
        read.cancelled |= read.state in {"queued", "running"}
        if read.state == "queued":
            read.end("cancelled", "read_cancelled")
