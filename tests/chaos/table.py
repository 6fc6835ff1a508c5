"""All rows: importing their modules enters them, in the order of the table in docs/reliability.md."""

from chaos import (
    rows_clocks,
    rows_disks,
    rows_kills,
    rows_outages,
    rows_rot,
    rows_service,
    rows_slides,
    rows_soak,
    rows_submits,
    rows_upgrade,
)
from chaos.room import ROWS

MODULES = (
    rows_kills, rows_service, rows_submits, rows_disks, rows_outages, rows_clocks, rows_slides, rows_upgrade,
    rows_rot, rows_soak,
)  # fmt: skip
TABLE = ROWS
