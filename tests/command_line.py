"""Run the command in this process, through the `main` that the installed script calls."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraread.cli import main

SCRIPT = Path(sys.executable).with_name("ultraread")
"""The installed command; a start costs a second, so few tests use it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def printed(self) -> Any:  # noqa: ANN401  # any JSON
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """The problem object on stderr."""
        told: dict[str, Any] = json.loads(self.err)
        return told


def ultraread(*words: object) -> Ended:
    """Run `ultraread WORDS...`."""
    before, out, err = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["ultraread", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as left:
        return Ended(int(left.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("main returned without an exit status")
