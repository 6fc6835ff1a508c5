"""What the whole suite shares: real servers; and it ends by naming its slowest files."""

import os
from collections import defaultdict

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, LoadScopeScheduling

# Read once, where Ray is imported first: as in the service.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

pytest_plugins = ("object_store", "postgres", "mlflow_server")

SHOWN_FILES = 10
STARTS_SERVICES = ("tests/chaos/", "tests/end_to_end/")


class InTurns(LoadFileScheduling):
    """A file's tests in one process; all that start services in one, too: two at once starve each other."""

    def _split_scope(self, nodeid: str) -> str:
        return "services" if nodeid.startswith(STARTS_SERVICES) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return InTurns(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the files that took longest, with their share in seconds."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("::")[0]] += report.duration
    terminalreporter.section("slowest files")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN_FILES]:
        terminalreporter.write_line(f"{spent:8.1f} s  {name}")
