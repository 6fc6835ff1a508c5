"""What keeps UltraRead from working here, and what to do about it; docs/guides/operate.md tells more."""

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from ultraread.errors import AuditChainBroken, StorageFull, UltraReadError, Unavailable
from ultraread.serving.settings import Settings

WITHOUT_WALL = {
    "seccomp": "warning: without seccomp, a slide that takes its decoder over reaches networks and changes "
    "files. Use a kernel and a container that filter calls, on x86-64 or ARM",
    "Landlock": "warning: without Landlock, a slide that takes its decoder over reads what this user may. "
    "Use Linux 5.13 or later with landlock in `lsm=`, and a container that lets its calls through",
}
UNSIGNED = (
    "chained, but unsigned: whoever owns the database can write it anew. Make a key outside of "
    "data_dir (`ultraread audit init-key FILE`), and set audit_key_file to it"
)
EXPIRES_SOON = timedelta(days=21)
MLFLOW_S = 5.0
APPEND_NOW = "`ultraread audit sign` appends them; see check `audit` where it cannot."
MOST_EVENTS = 5000
"""Of each site's trail that are held against their hashes."""


class Warned(str):
    """Told of what works, and should not stay so."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `exit_status` is 0 where it is well."""

    name: str
    told: str
    exit_status: int = 0

    @property
    def ok(self) -> bool:
        return self.exit_status == 0

    @property
    def is_warning(self) -> bool:
        return isinstance(self.told, Warned)


def examine(config: Path | None, data_dir: Path | None = None) -> list[Check]:
    """Look at everything; a failing check never hides the next one, but for that of the settings."""
    from ultraread.serving.settings import load_settings

    first = [_check("models", _models), _check("service", _service)]
    loaded: list[Settings] = []
    settings = _check("settings", lambda: _settings(loaded, load_settings(config, data_dir=data_dir)))
    rest = [_check(name, partial(look, loaded[0])) for name, look in CHECKS.items() if loaded]
    return [*first, settings, *rest]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look())
    except UltraReadError as error:
        return Check(name, f"error[{error.code}]: {error.what}. {error.remedy}", error.exit_status)
    except (
        Exception
    ) as failure:  # of a driver or a library: where something is broken, anything may be raised
        told = f"error[{UltraReadError.code}]: this cannot be looked at ({type(failure).__name__})"
        return Check(name, told, UltraReadError.exit_status)


def _models() -> str:
    from ultraread.models.classifier import OnnxClassifier
    from ultraread.models.registry import list_models

    told = [
        f"{m.card.ref} ({OnnxClassifier(m, 1).golden_difference:.1g} off its golden pair)"
        for m in list_models()
    ]
    return ", ".join(told)


def _service() -> str:
    from ultraread.serving.embedded import SERVICE, require_service

    require_service()
    return ", ".join(f"{name} {version(name)}" for name in SERVICE)


def _settings(loaded: list[Settings], settings: Settings) -> str:
    from ultraread.serving.cluster import refuse_incomplete
    from ultraread.serving.settings import prepare_folders

    loaded.append(settings)
    if settings.profile == "cluster":
        refuse_incomplete(settings)
    where = f"profile {settings.profile}, {settings.host}:{settings.port}"
    if not settings.data_dir.exists():
        return f"{where}, data will be kept in {settings.data_dir}"
    prepare_folders(settings)
    return f"{where}, data in {settings.data_dir}"


def _secrets(settings: Settings) -> str:
    """Raises ConfigInsecure for secrets that others may read or guess, and for what is only for debugging."""
    from ultraread.serving.insecure import refuse_insecure, secret_files

    refuse_insecure(settings)
    return f"files of secrets, for their owner alone: {len(secret_files(settings))}"


def _machine(settings: Settings) -> str:
    from ultraread.serving.machine import check_memory, machine_cpus, share_of_replica

    share = share_of_replica(settings)
    if not _is_running(settings):
        check_memory(settings)
    return f"{machine_cpus(settings):g} cores; each classifier replica works with {share.threads} threads"


def _disk(settings: Settings) -> str:
    """Raises StorageFull below least_free_bytes."""
    there = next(one for one in (settings.data_dir, *settings.data_dir.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < settings.least_free_bytes:
        raise StorageFull(f"{free / 2**30:.1f} GiB are free where data_dir lies", "Free some.")
    return f"{free / 2**30:.1f} GiB are free where data_dir lies"


def _decoding(settings: Settings) -> str:
    """Whether slides can be decoded, and which walls do not stand around that. Raises Unavailable."""
    from ultraread.serving.decoding.pool import DecodingPool
    from ultraread.serving.decoding.walls import fallen_walls

    with closing(DecodingPool(settings.decode_limits)) as pool:
        pool.check()
        fallen = pool.call(fallen_walls, sys.executable)
    if not fallen:
        return "decoding processes start, behind seccomp and Landlock"
    return Warned("; ".join(["decoding processes start", *(WITHOUT_WALL[wall] for wall in fallen)]))


def _database(settings: Settings) -> str:
    """What database it is, and whether it does. Raises Unavailable and SqliteOnNetworkFs."""
    from ultraread.serving.store.network_fs import refuse_network_fs
    from ultraread.serving.store.schema import facts_of_server

    if not settings.database_address.startswith("sqlite"):
        return facts_of_server(settings.database_address)
    there = next(one for one in settings.database_file.parents if one.exists())
    refuse_network_fs(there)
    return "SQLite, on a local disk"


def _schema(settings: Settings) -> str:
    """Raises SchemaTooNew."""
    from ultraread.serving.store.schema import head, refuse_too_new

    if not settings.has_database:
        return "no tables yet; the next start makes them"
    there = refuse_too_new(settings.database_address)
    return f"tables at {there or 'none'}, this version at {head()}"


def _clock(settings: Settings) -> str:
    """Raises Unavailable where this clock and the database's are apart."""
    if settings.database_address.startswith("sqlite"):
        return "the database follows this machine's clock"
    from ultraread.serving.store.schema import clock_of_server

    skew_s = abs((clock_of_server(settings.database_address) - datetime.now(UTC)).total_seconds())
    if skew_s > settings.largest_clock_skew_s:
        told = f"this clock and the database's differ by {skew_s:.0f} s"
        raise Unavailable(told, "Set both by one time server.")
    return f"{skew_s:.1f} s from the database's"


def _storage(settings: Settings) -> str:
    """Where copies go, asked whether they answer. Raises StorageUnreachable."""
    from ultraread.serving.storage.places import on_same_device, target_at

    places = [settings.slides_place, *([settings.second_copy_url] if settings.second_copy_url else [])]
    for place in places:
        target_at(place).check()
    if len(places) == 1:
        return "one copy; set second_copy_url for another one"
    if on_same_device(*places):
        return "two copies, but on one device: what breaks it takes both. Set second_copy_url elsewhere"
    return "two copies, at two addresses that answer"


def _mlflow(settings: Settings) -> str:
    """Raises Unavailable where the server does not answer; reads go on without it."""
    if settings.mlflow_url is None:
        return "mlflow.db in data_dir"
    import httpx

    try:
        answer = httpx.get(f"{settings.mlflow_url.rstrip('/')}/health", timeout=MLFLOW_S)
        answer.raise_for_status()
    except httpx.HTTPError as failure:
        raise Unavailable(
            f"the MLflow server does not answer ({type(failure).__name__})",
            "Start it, or correct mlflow_url; what it was not told waits in the outbox.",
        ) from failure
    return f"{urlsplit(settings.mlflow_url).hostname} answers"


def _audit(settings: Settings) -> str:
    """Whether the trail gets signed, and checkpoints their file.

    Raises ConfigInsecure for a key that is not kept as it should be, Unavailable for a file that takes none.
    """
    from ultraread.serving.audit.checkpoint_file import refuse_unwritable
    from ultraread.serving.audit.checkpoints import signer_of

    signer = signer_of(settings)
    if signer is None:
        return Warned(UNSIGNED)
    if settings.audit_checkpoint_file or settings.data_dir.exists():
        refuse_unwritable(settings.checkpoint_file)
    return f"signed by {signer.public_key}"


def _trail(settings: Settings) -> str:
    """Raises AuditChainBroken where an event since the last checkpoint is not as it was written.

    Raises Unavailable where the file of checkpoints lacks what was signed last.
    """
    from sqlalchemy import inspect
    from sqlalchemy.orm import Session

    from ultraread.serving.audit.checkpoint_file import checkpoints_in, lacks_newest
    from ultraread.serving.audit.trail import DatabaseTrail, readable, sites_in
    from ultraread.serving.audit.verify import verify_recent
    from ultraread.serving.store.schema import looking

    if not settings.has_database:
        return "nothing is in it yet"
    elsewhere = [*checkpoints_in(settings.checkpoint_file)] if settings.checkpoint_file.is_file() else []
    with looking(settings.database_address) as connection, Session(connection) as session, readable(session):
        there = sites_in(session) if inspect(connection).has_table("audit_heads") else []
        trails = [DatabaseTrail(session, site) for site in there]
        found = [verify_recent(trail, MOST_EVENTS, elsewhere) for trail in trails]
        is_kept = not (there and settings.audit_key_file and lacks_newest(settings.checkpoint_file, session))
    if broken := [f"{one.site}, event {one.fault.sequence}: {one.fault.told}" for one in found if one.fault]:
        raise AuditChainBroken("; ".join(broken))
    if not is_kept:
        raise Unavailable(f"{settings.checkpoint_file} lacks checkpoints that the database has", APPEND_NOW)
    whole = [f"{one.site}: events {one.first} to {one.events}" for one in found if one.events]
    return f"whole, as far as looked at ({'; '.join(whole)})" if whole else "nothing is in it yet"


def _ray(settings: Settings) -> str:
    """Raises ConfigRayExposed where Ray would take orders from whoever reaches its ports."""
    from ultraread.serving.ray_ports import refuse_open_cluster, refuse_without_token

    refuse_without_token()
    if settings.ray_address is None:
        return "on loopback, with tokens"
    refuse_open_cluster(settings.ray_address)
    return f"the cluster at {settings.ray_address}, with tokens"


def _certificate(settings: Settings) -> str:
    """Raises Unavailable where the reverse proxy's certificate ends soon."""
    if settings.certificate_file is None:
        return "not watched; set certificate_file to the reverse proxy's"
    from cryptography.x509 import load_pem_x509_certificate

    try:
        ends = load_pem_x509_certificate(settings.certificate_file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as failure:
        told = f"the certificate cannot be read ({type(failure).__name__})"
        raise Unavailable(told, "Correct certificate_file.") from failure
    if ends - datetime.now(UTC) < EXPIRES_SOON:
        raise Unavailable(f"the certificate ends on {ends:%Y-%m-%d}", "Renew it, and reload nginx.")
    return f"ends on {ends:%Y-%m-%d}"


def _is_running(settings: Settings) -> bool:
    """Whether a service of these settings holds the memory that it needs."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((settings.host, settings.port)) == 0


CHECKS: dict[str, Callable[[Settings], str]] = {
    "secrets": _secrets,
    "machine": _machine,
    "disk": _disk,
    "decoding": _decoding,
    "database": _database,
    "schema": _schema,
    "clock": _clock,
    "storage": _storage,
    "mlflow": _mlflow,
    "audit": _audit,
    "trail": _trail,
    "ray": _ray,
    "certificate": _certificate,
}
"""In an order in which a failing one explains those that follow."""
EVERY_CHECK = ("models", "service", "settings", *CHECKS)
