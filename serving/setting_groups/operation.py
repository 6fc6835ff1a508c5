"""Settings of operation: on one machine or a cluster, logs, health, and how it stops."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, model_validator

from ultraread.errors import RequestInvalid


class OperationSettings(BaseModel):
    """Where it runs, and what its operators see of it."""

    profile: Literal["local", "cluster"] = Field(
        default="local",
        description="local: all on this machine, with Ray, SQLite and folders of its own. cluster: on a "
        "running Ray cluster, with PostgreSQL, slides in S3, an MLflow server and a data_dir that all nodes "
        "share.",
    )
    ray_address: str | None = Field(
        default=None, description="Address of the running Ray cluster, host:port; profile cluster needs it."
    )
    mlflow_url: str | None = Field(
        default=None,
        description="http(s) address of an MLflow server. Without a value, mlflow.db in data_dir. Its "
        "credentials come from the environment (MLFLOW_TRACKING_...), never from here.",
    )
    ingresses: int = Field(
        default=1, ge=1, description="Processes that answer HTTP; more than one only in profile cluster."
    )
    runners: int = Field(
        default=1,
        ge=1,
        description="Processes that take reads from the queue, each max_running_reads at once; more than one "
        "only in profile cluster.",
    )
    grace_s: float = Field(
        default=30,
        gt=0,
        description="Seconds that a stopping service has to hand back reads and finish uploads; then it is "
        "cut off, and reads go on when their lease ends.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    log_file_bytes: int = Field(
        default=50 * 2**20, ge=2**16, description="Size at which a log file in data_dir/logs is put away."
    )
    log_files: int = Field(default=5, ge=1, description="Log files that are kept, the current one included.")
    least_free_bytes: int = Field(
        default=2**30,
        ge=0,
        description="Free bytes of data_dir's disk below which the service says that it is not ready.",
    )
    oldest_outbox_s: float = Field(
        default=3600,
        gt=0,
        description="Seconds that MLflow or a webhook may be behind before readiness tells.",
    )
    largest_clock_skew_s: float = Field(
        default=5,
        gt=0,
        description="Seconds that the clocks of machine and database may differ before readiness tells.",
    )

    certificate_file: Path | None = Field(
        default=None,
        description="Certificate of the reverse proxy; `ultraread doctor` tells three weeks before it ends.",
    )

    @model_validator(mode="after")
    def _refuse_what_does_not_fit(self) -> Self:
        if self.mlflow_url is not None and urlsplit(self.mlflow_url).scheme not in {"http", "https"}:
            raise RequestInvalid(
                "mlflow_url is no http(s) address", "Name an MLflow server, or leave it out."
            )
        if self.mlflow_url is not None and urlsplit(self.mlflow_url).password is not None:
            raise RequestInvalid(
                "mlflow_url holds a password", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        if self.profile == "local" and max(self.ingresses, self.runners) > 1:
            raise RequestInvalid(
                "ingresses and runners are more than one only in profile cluster", "Set profile to cluster."
            )
        return self
