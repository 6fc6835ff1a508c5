"""What an operator can set: command line over environment (ULTRAREAD_...) over TOML file over defaults."""

import os
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.stored_file import is_remote
from ultraread.errors import ConfigInsecure, RequestInvalid
from ultraread.models.promotion import HigherIsBetter, PromotionPolicy
from ultraread.serving.log_plan import LogPlan
from ultraread.serving.setting_groups.access import AccessSettings
from ultraread.serving.setting_groups.auditing import AuditingSettings
from ultraread.serving.setting_groups.decoding import DecodingSettings
from ultraread.serving.setting_groups.durability import DurabilitySettings
from ultraread.serving.setting_groups.limits import LimitsSettings
from ultraread.serving.setting_groups.operation import OperationSettings
from ultraread.serving.setting_groups.secret_file import OTHERS
from ultraread.serving.setting_groups.uploading import UploadingSettings
from ultraread.serving.storage.places import refuse_same_place

HOSTS = ("127.0.0.1", "localhost")
"""Loopback, where every part of the service and its clients look for it."""
ENVIRONMENT_PREFIX = "ULTRAREAD_"


class Settings(  # pyright: ignore[reportIncompatibleVariableOverride]  # model_config, as pydantic documents it
    DurabilitySettings,
    UploadingSettings,
    AccessSettings,
    AuditingSettings,
    DecodingSettings,
    LimitsSettings,
    OperationSettings,
    BaseSettings,
):
    """Frozen; a value that would expose patient data does not make a Settings."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on: 127.0.0.1 or localhost; TLS ends in a proxy on this machine.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 lets the system choose.")
    proxied_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names under which a reverse proxy forwards to this service. "
        "Any other name but loopback is refused: a web page could rebind its own to this machine.",
    )
    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/share/ultraread",
        description="Folder of database, slides, reads and MLflow store; only its owner may enter.",
    )
    models: tuple[str, ...] = Field(
        default=("ultrastructure-vnc",),
        min_length=1,
        description="Models to serve (name, name/version or folder); the first one is the default. At the "
        "first start they become champions of their names; from then on the registry decides.",
    )
    replicas: int = Field(
        default=1, ge=1, description="Classifier replicas a model; each takes cpus / replicas."
    )
    cpus: int | None = Field(
        default=None, ge=1, description="Processor cores to use; without a value, the machine's."
    )
    range_tiles: int = Field(
        default=128,
        ge=1,
        description="Tiles a range: the unit of dispatch and checkpoint. Smaller ones cost more dispatch; "
        "larger ones repeat more work after a crash.",
    )
    poll_s: float = Field(default=0.2, gt=0, description="Seconds between looks into the store for news.")
    max_running_reads: int = Field(
        default=1, ge=1, description="Reads that run at once; one already uses all cores."
    )
    promotion_sets: tuple[str, ...] = Field(
        default=("hela_sbfsem", "isbi2012"),
        min_length=1,
        description="Data sets that a champion has to be evaluated on; its training must not have seen them.",
    )
    promotion_metric: HigherIsBetter = Field(
        default=HigherIsBetter.AUC_PATCH,
        description="What a champion is compared by: auc_tile, auc_patch, average_precision, f1 or dice.",
    )
    promotion_margin: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="How far the 95 % interval of the difference to the champion may reach below 0.",
    )
    shadow_fraction: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the reads with a result that the version with alias shadow repeats, unseen.",
    )

    slides_url: str | None = Field(
        default=None,
        description="Where filed slides are kept: a folder or s3://bucket/prefix. Without a value, slides in "
        "data_dir. Keys of an object store come from the environment (AWS_...), never from here.",
    )
    second_copy_url: str | None = Field(
        default=None,
        description="Another folder or s3://bucket/prefix that gets a copy of every slide, result and record "
        "in the background. Without a value, there is one copy.",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Days that what is filed from now on is kept at least; `ultraread storage expire` may "
        "remove it then. Without a value, for ever.",
    )
    scrub_hours: float = Field(
        default=168,
        ge=0,
        description="Hours in which the service reads every copy once and holds it against its digest; "
        "0: never by itself.",
    )
    scrub_repair: bool = Field(
        default=False,
        description="Whether the service replaces a damaged copy by the good one without being asked.",
    )

    identity_policy: IdentityPolicy = Field(
        default=IdentityPolicy.STRIP,
        description="What is done about slides that identify somebody: refuse, strip or keep. A slide may be "
        "filed under a less strict policy only with a reason.",
    )

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> Self:
        if self.host not in HOSTS:
            raise ConfigInsecure(
                f"host {self.host} is not {' or '.join(HOSTS)}: what comes from elsewhere comes over TLS"
            )
        is_remote(self.slides_place)
        if self.second_copy_url is not None:
            for first in (self.slides_place, str(self.data_dir)):
                refuse_same_place(first, self.second_copy_url)
        return self

    @property
    def database_address(self) -> str:
        """For `open_store`; it may hold a password."""
        return self.stated_database or f"sqlite:///{self.database_file}"

    @property
    def has_database(self) -> bool:
        """Whether there is one to look into; False where the next start makes a file."""
        return self.stated_database is not None or self.database_file.is_file()

    @property
    def database_file(self) -> Path:
        """Of SQLite, where no other database is set."""
        return self.data_dir.resolve() / "ultraread.db"

    @property
    def mlflow_uri(self) -> str:
        """Of the MLflow server, or of the store in data_dir."""
        if self.mlflow_url is not None:
            return self.mlflow_url
        return f"sqlite:///{self.data_dir.resolve()}/mlflow.db"

    @property
    def writes_owner_token(self) -> bool:
        """In a cluster only where that was asked for: more people may read its folder."""
        return self.owner_token and (self.profile == "local" or "owner_token" in self.model_fields_set)

    @property
    def owner_token_file(self) -> Path:
        return self.data_dir / "owner.token"

    @property
    def checkpoint_file(self) -> Path:
        """Signed checkpoints of the audit trail, a line each."""
        return self.audit_checkpoint_file or self.data_dir / "audit-checkpoints.jsonl"

    @property
    def slides_dir(self) -> Path:
        return self.data_dir / "slides"

    @property
    def slides_place(self) -> str:
        """Path or `s3://` address of the first copies of slides."""
        return self.slides_url or str(self.slides_dir)

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def reads_dir(self) -> Path:
        return self.data_dir / "reads"

    @property
    def models_dir(self) -> Path:
        return self.data_dir / "models"

    @property
    def shadows_dir(self) -> Path:
        """Work of shadow versions, deleted when it is compared."""
        return self.data_dir / "shadows"

    @property
    def log_plan(self) -> LogPlan:
        """Where the processes of the service write what they tell of themselves."""
        folder = str(self.data_dir.resolve() / "logs")
        return LogPlan(folder, self.log_level, self.log_file_bytes, self.log_files)

    @property
    def promotion_policy(self) -> PromotionPolicy:
        return PromotionPolicy(self.promotion_sets, self.promotion_metric, self.promotion_margin)

    def result_dir(self, read_id: str, epoch: int) -> Path:
        """Where the owner that claimed a read with this epoch publishes: no other owner writes there."""
        return self.reads_dir / read_id / f"result-{epoch}"


def load_settings(config: Path | None = None, **stated: object) -> Settings:
    """Read the settings; `stated` are those of the command line, None where it is silent.

    Raises RequestInvalid for unknown names and impossible values, ConfigInsecure for unsafe ones.
    """
    given: dict[str, Any] = {name: value for name, value in stated.items() if value is not None}
    try:
        return Settings(**(_file_values(config) | given))
    except SettingsError as unreadable:
        raise RequestInvalid(f"{unreadable}", "Lists in the environment are JSON.") from unreadable
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(
            f"setting {name}: {first['msg']}", "Correct the file, the ULTRAREAD_ variable or the option."
        ) from invalid


def prepare_folders(settings: Settings) -> None:
    """Make the folders below `data_dir`, for its owner only.

    Raises ConfigInsecure where others may enter `data_dir`, or where this process cannot write.
    """
    _make_private(settings.data_dir)
    if settings.data_dir.stat().st_mode & OTHERS:
        raise ConfigInsecure(f"others may enter {settings.data_dir}", "chmod 700 it, or set data_dir.")
    of_files = (settings.slides_dir, settings.uploads_dir, settings.reads_dir)
    for folder in (*of_files, settings.models_dir, settings.shadows_dir):
        _make_private(folder)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failure:
        raise ConfigInsecure(
            f"{folder} cannot be made ({failure.strerror})", "Set data_dir to a folder of yours."
        ) from failure
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigInsecure(f"{folder} cannot be written to", "Set data_dir to a folder of yours.")


def _file_values(config: Path | None) -> dict[str, Any]:
    """The file's values, less those that the environment states."""
    if config is None:
        return {}
    try:
        values = tomllib.loads(config.read_text())
    except FileNotFoundError as failure:
        raise RequestInvalid(f"there is no file {config}", "Check --config.") from failure
    except OSError as failure:
        raise RequestInvalid(f"{config} cannot be read ({failure.strerror})", "Check --config.") from failure
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise RequestInvalid(f"{config} is no TOML: {failure}", "Correct the file.") from failure
    stated = {name.upper() for name in os.environ}
    return {name: value for name, value in values.items() if ENVIRONMENT_PREFIX + name.upper() not in stated}
