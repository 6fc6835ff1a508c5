"""The machine, the service and its stores."""

from typing import ClassVar

from ultraread.errors.root import UltraReadError


class Unavailable(UltraReadError):
    """Service, storage or registry cannot be reached or is full."""

    code = "service_unavailable"
    http_status = 503
    exit_status = 6
    remedy = "Start it with `ultraread serve`, or check --url; `ultraread doctor` tells what is wrong."


class ServiceBusy(Unavailable):
    """More is asked for at once than the service takes."""

    code = "service_busy"
    remedy = "Ask again after the seconds of Retry-After."
    headers: ClassVar = {"Retry-After": "2"}


class RequestTimeout(Unavailable):
    """The answer was not ready in time; what was begun may still end."""

    code = "request_timeout"
    http_status = 504
    remedy = "Ask whether it is there before you send it again, with the same Idempotency-Key."


class ViewBusy(Unavailable):
    """More pictures are asked for than can be made."""

    code = "view_busy"
    remedy = "Ask again in a second."
    headers: ClassVar = {"Retry-After": "1"}


class DecodingBusy(Unavailable):
    """More slides are to be opened than may be at once."""

    code = "decoding_busy"
    remedy = "Ask again in a moment, or raise decode_processes."
    headers: ClassVar = {"Retry-After": "5"}


class StorageFull(Unavailable):
    """No room to write."""

    code = "storage_full"
    http_status = 507
    remedy = "Free space and try again; nothing half-written is shown."


class DatabaseUnreachable(Unavailable):
    """The database does not answer; what is running waits for it."""

    code = "database_unreachable"
    remedy = (
        "Try again in a moment; the operator sees in the service's log and `ultraread doctor` what is wrong."
    )


class SqliteOnNetworkFs(Unavailable):
    """The database's file lies on a network file system, where SQLite would lose what it wrote."""

    code = "config_sqlite_on_network_fs"
    remedy = "Set data_dir to a local disk, or database_url to a PostgreSQL server."


class StorageUnreachable(Unavailable):
    """The object store does not answer, or not to these credentials."""

    code = "storage_unreachable"
    remedy = "Check its address and credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID), then try again."


class CheckpointDamaged(Unavailable):
    """A scored range is not as it was written; it is scored again."""

    code = "checkpoint_damaged"
    remedy = "Nothing is to be done for the read; check the disk that holds data_dir."


class MachineTooSmall(Unavailable):
    """The deployments do not fit this machine, so they would wait for ever."""

    code = "machine_too_small"
    remedy = "Lower the named setting or use a larger machine."


class ConfigInsecure(Unavailable):
    """A setting that would expose patient data."""

    code = "config_insecure"
    remedy = "Bind to loopback and put a reverse proxy with TLS in front."


class ConfigRayExposed(ConfigInsecure):
    """Ray would take orders from whoever reaches its ports."""

    code = "config_ray_exposed"
    remedy = "Start every node of Ray with RAY_AUTH_MODE=token, its default; docs/guides/cluster.md says how."


class ConfigIncomplete(Unavailable):
    """Profile cluster lacks a part that every node can reach, or has one that only one node has."""

    code = "config_incomplete"
    remedy = "Set what is named; docs/guides/cluster.md has an example."


class DataDirNotShared(Unavailable):
    """Nodes of the cluster do not see the same data_dir."""

    code = "config_data_dir_not_shared"
    remedy = "Mount one shared file system at data_dir on every node, for the user that Ray runs as."


class DataDirInUse(Unavailable):
    """Another service works in this data_dir."""

    code = "data_dir_in_use"
    remedy = "Stop that one, or choose another folder with --data-dir."


class SchemaTooNew(Unavailable):
    """The database was migrated to tables that this version cannot work with."""

    code = "config_schema_newer"
    remedy = "Install the version that migrated it, or a newer one."


class ExtraMissing(Unavailable):
    """A part of UltraRead that is not installed."""

    code = "extra_missing"
    remedy = "Install it as the message says."


class CorpusUnreachable(Unavailable):
    """A pinned public data set is neither mirrored nor downloadable."""

    code = "corpus_unreachable"
    remedy = "Set ULTRAREAD_DATA_MIRROR to a folder that holds it, or allow the download."
