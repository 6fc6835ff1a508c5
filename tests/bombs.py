"""What a process takes that opens a file made to fill it: a child opens, reads and tells its own peak."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ALLOWED_BYTES = 300 * 10**6

# The kernel's peak of this process alone: ru_maxrss starts with that of the parent.
OPEN_AND_READ = """
import sys
from pathlib import Path
from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import TileUnreadable
from ultraread.errors import UltraReadError

def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def outcome(path):
    try:
        with open_slide(Path(path)) as slide:
            for image in slide.info.images:
                slide.read_box(image.index, 0, whole(image.size))
    except TileUnreadable:
        return "tile_unreadable"
    except UltraReadError as refused:
        return refused.code
    return "read"

before = outcome(sys.argv[1])
start = peak_bytes()
print(before, outcome(sys.argv[2]), peak_bytes() - start)
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """`outcome` is `read`, `tile_unreadable` or the code of a refusal."""

    outcome: str
    grown_bytes: int


def opened_in_a_child(whole: Path, bomb: Path) -> Opened:
    """Open the bomb after a whole slide of its format, so that libraries are loaded before it is measured."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_READ, str(whole), str(bomb)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, outcome, grown = done.stdout.split()
    assert before == "read", done.stderr
    print(f"{bomb.name}: {outcome}, {int(grown) / 1e6:.0f} MB")
    return Opened(outcome, int(grown))
