"""Settings of durability: the database, leases, the queue."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from ultraread.errors import RequestInvalid
from ultraread.serving.setting_groups.secret_file import secret_in


class DurabilitySettings(BaseModel):
    """Where reads are remembered, and how long who may be silent."""

    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://USER:PASSWORD@HOST/DATABASE of a PostgreSQL server. Without a value, a "
        "SQLite file in data_dir, which has to be on a local disk.",
    )
    database_url_file: Path | None = Field(
        default=None,
        description="File that holds database_url, for its owner only; rather this than the environment.",
    )
    lease_s: float = Field(
        default=15,
        gt=0,
        description="Seconds without a heartbeat after which another runner takes a read over.",
    )
    heartbeat_s: float = Field(default=5, gt=0, description="Seconds between heartbeats of a running read.")
    max_attempts: int = Field(
        default=3, ge=1, description="Attempts without progress after which a read is failed as poisoned."
    )
    routine_waits_s: float = Field(
        default=3600,
        ge=0,
        description="Seconds after which a routine read that waits goes with the urgent ones.",
    )
    storage_patience_s: float = Field(
        default=3600,
        ge=0,
        description="Seconds that a running read waits for room on a full disk before it fails as "
        "storage_full.",
    )
    queue_days: int = Field(
        default=30,
        ge=1,
        description="Days after which answers kept for repeated requests, and what other systems were told "
        "of, are removed.",
    )

    @model_validator(mode="after")
    def _refuse_lost_leases(self) -> Self:
        if self.lease_s <= 2 * self.heartbeat_s:
            raise RequestInvalid(
                f"a lease of {self.lease_s:g} s is lost too easily, with a beat each {self.heartbeat_s:g} s",
                "Set lease_s to more than twice heartbeat_s.",
            )
        if self.database_url is not None and self.database_url_file is not None:
            raise RequestInvalid("database_url and database_url_file are both set", "Set one of them.")
        return self

    @property
    def stated_database(self) -> str | None:
        """The address that was set, whichever way; None where a SQLite file is used.

        Raises ConfigInsecure where others may read the file that holds it.
        """
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return secret_in(self.database_url_file, "database_url") if self.database_url_file else None
