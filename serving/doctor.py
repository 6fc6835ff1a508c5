"""What keeps UltraRead from working on this machine, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ultraread.errors import UltraReadError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `exit_status` is 0 where it is well."""

    name: str
    told: str
    exit_status: int = 0

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


def examine(config: Path | None) -> list[Check]:
    """Look at everything; a failing check never hides the next one."""
    return [
        _check("models", _models),
        _check("service", _service),
        _check("settings", lambda: _settings(config)),
        _check("machine", lambda: _machine(config)),
        _check("storage", lambda: _storage(config)),
        _check("audit", lambda: _audit(config)),
    ]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look())
    except UltraReadError as error:
        return Check(name, f"error[{error.code}]: {error.what}. {error.remedy}", error.exit_status)


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


def _settings(config: Path | None) -> str:
    from ultraread.serving.settings import load_settings, prepare_folders

    settings = load_settings(config)
    if not settings.data_dir.exists():
        return f"{settings.host}:{settings.port}, data will be kept in {settings.data_dir}"
    prepare_folders(settings)
    return f"{settings.host}:{settings.port}, data in {settings.data_dir}"


def _machine(config: Path | None) -> str:
    from ultraread.serving.machine import check_memory, machine_cpus, share_of_replica
    from ultraread.serving.settings import load_settings

    settings = load_settings(config)
    share = share_of_replica(settings)
    check_memory(settings)
    return f"{machine_cpus(settings):g} cores; each classifier replica works with {share.threads} threads"


def _storage(config: Path | None) -> str:
    """Where copies go, asked whether they answer. Raises StorageUnreachable."""
    from ultraread.serving.settings import load_settings
    from ultraread.serving.storage.places import on_same_device, target_at

    settings = load_settings(config)
    places = [settings.slides_place, *([settings.second_copy_url] if settings.second_copy_url else [])]
    for place in places:
        target_at(place).check()
    if len(places) == 1:
        return "one copy; set second_copy_url for another one"
    if on_same_device(*places):
        return "two copies, but on one device: what breaks it takes both. Set second_copy_url elsewhere"
    return "two copies, at two addresses that answer"


def _audit(config: Path | None) -> str:
    """Whether the trail gets signed. Raises ConfigInsecure for a key that is not kept as it should be."""
    from ultraread.serving.audit.checkpoints import signer_of
    from ultraread.serving.settings import load_settings

    signer = signer_of(load_settings(config))
    if signer is None:
        return "chained, but unsigned: whoever owns the database can write it anew. Set audit_key_file"
    return f"signed by {signer.public_key}"
