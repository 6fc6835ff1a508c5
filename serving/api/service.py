"""What every route may use: settings, store, queue, uploads and the models that are served."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from ultraread.errors import ModelUnknown
from ultraread.models.registry import ModelFolder, find_model
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.idempotency import release_interrupted
from ultraread.serving.store.jobs import Jobs
from ultraread.serving.store.uploads import Uploads

WHO = "local"
"""Everybody who reaches the loopback address, until there is authentication."""


@dataclass(frozen=True, slots=True)
class Service:
    """The collaborators of the routes."""

    settings: Settings
    store: Store
    jobs: Jobs
    uploads: Uploads
    models: tuple[ModelFolder, ...]

    def model(self, ref: str | None) -> ModelFolder:
        """The served model `name` or `name/version`; the first one where none is asked for.

        Raises ModelUnknown. Paths are no references here: who sends a request must not choose files.
        """
        if ref is None:
            return self.models[0]
        for model in self.models:
            if ref in (model.card.name, model.card.ref):
                return model
        raise ModelUnknown(f"{ref} is not served here", "GET /v1/models lists what is.")


def open_service(settings: Settings) -> Service:
    """Make folders and database where there are none. Raises what keeps the service from starting."""
    models = tuple(find_model(ref) for ref in settings.models)
    prepare_folders(settings)
    store = open_store(settings.database_url)
    release_interrupted(store)
    return Service(
        settings=settings,
        store=store,
        jobs=Jobs(store, settings.lease_s, settings.max_attempts),
        uploads=Uploads(store, settings.uploads_dir, settings.max_upload_bytes),
        models=models,
    )


def _service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


InService = Annotated[Service, Depends(_service_of)]
