"""Find a model for a command: shipped, a folder, or registered in the data folder of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ultraread.errors import ModelUnknown, ModelWithdrawn
from ultraread.models.registry import ModelFolder, find_model
from ultraread.serving.settings import Settings, load_settings, prepare_folders

if TYPE_CHECKING:
    from ultraread.serving.model_registry import ModelRegistry


def find_local_model(ref: str, settings: Settings | None = None) -> ModelFolder:
    """The shipped model or the folder that `ref` names, else the registered one.

    Only a registered one has aliases. Raises ModelUnknown, and ModelWithdrawn for one that was withdrawn.
    """
    if "@" not in ref or Path(ref).is_dir():
        try:
            return find_model(ref)
        except ModelUnknown:
            if Path(ref).is_absolute():
                raise
    with registry_of(settings or load_settings()) as registry:
        if registry is None:
            raise ModelUnknown(f"there is no model {ref}")
        found = registry.find(ref)
        if reason := registry.reason_of_withdrawal(found):
            raise ModelWithdrawn(f"{ref} was withdrawn: {reason}")
        return found


@contextmanager
def registry_of(settings: Settings, make: bool = False) -> "Iterator[ModelRegistry | None]":
    """The registry of the data folder; where there is none yet, None unless it is to be made."""
    if not make and not settings.has_database:
        yield None
        return
    from ultraread.serving.decoding.model_proof import prove_apart
    from ultraread.serving.model_registry import open_registry
    from ultraread.serving.store.engine import open_store

    prepare_folders(settings)
    store = open_store(settings.database_address)
    try:
        yield open_registry(settings, store, prove_apart)
    finally:
        store.close()
