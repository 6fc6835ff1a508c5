"""What every route may use: settings, store, queue, uploads and the models that are served."""

from dataclasses import dataclass, field, replace
from typing import Annotated, cast

from fastapi import Depends, Request

from ultraread.datasets.slide_address import SlideAddress
from ultraread.errors import AuthRequired
from ultraread.models.registry import ModelFolder
from ultraread.serving.access.owner import write_owner_token
from ultraread.serving.access.principal import LOCAL, Principal
from ultraread.serving.api.answering import Answering
from ultraread.serving.api.gate import asked_of
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.model_files import FittedModels
from ultraread.serving.model_registry import ModelRegistry, open_registry, serve_models
from ultraread.serving.presence import Presence
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.storage.slide_store import SlideStore, open_slide_store
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.idempotency import release_interrupted
from ultraread.serving.store.jobs import Jobs
from ultraread.serving.store.tables import SlideRow
from ultraread.serving.store.uploads import Uploads, open_uploads


@dataclass(frozen=True, slots=True)
class Service:
    """The collaborators of the routes."""

    settings: Settings
    store: Store
    jobs: Jobs
    uploads: Uploads
    registry: ModelRegistry
    slides: SlideStore
    fit: FittedModels
    presence: Presence
    served: tuple[ModelFolder, ...]
    """The models of the settings, the default first."""
    decoding: DecodingPool
    principal: Principal = LOCAL
    answering: Answering = field(default_factory=Answering)
    """By site and Idempotency-Key."""

    @property
    def who(self) -> str:
        """For the audit trail."""
        return self.principal.who

    def address(self, slide: SlideRow) -> SlideAddress:
        """Where a filed slide is opened. Raises IntegrityFailed."""
        with self.store.reading() as session:
            return self.slides.address(session, slide)

    def seen_by(self, principal: Principal) -> "Service":
        """The same service, kept to what is the principal's site's."""
        store = self.store.of_site(principal.site)
        return replace(
            self,
            store=store,
            jobs=replace(self.jobs, store=store),
            uploads=replace(self.uploads, store=store),
            registry=replace(self.registry, store=store),
            principal=principal,
        )

    def model(self, ref: str | None) -> ModelFolder:
        """The registered version `name`, `name/version` or `name@alias`; without one, the default's champion.

        Raises ModelUnknown, ModelWithdrawn, PromotionRefused. Paths are no references here: who sends a
        request must not choose files.
        """
        also = [model.card.ref for model in self.served]
        return self.fit(self.registry.readable(ref or self.default_name, also))

    @property
    def default_name(self) -> str:
        return self.served[0].card.name


def open_service(settings: Settings) -> Service:
    """Make folders and database where there are none. Raises what keeps the service from starting."""
    prepare_folders(settings)
    store = open_store(settings.database_address)
    if settings.profile == "local":
        release_interrupted(store)
    if settings.writes_owner_token:
        write_owner_token(settings, store)
    registry = open_registry(settings, store)
    return Service(
        settings=settings,
        store=store,
        jobs=Jobs(store, settings.lease_s, settings.max_attempts),
        uploads=open_uploads(settings, store),
        registry=registry,
        slides=open_slide_store(settings),
        fit=FittedModels(),
        presence=Presence(store, "Ingress"),
        served=tuple(serve_models(settings, registry, lambda _proved_when_the_service_started: 0.0)),
        decoding=DecodingPool(settings.decode_limits),
    )


def _principal_of(request: Request) -> Principal:
    """Raises AuthRequired where the gate let nobody in: a route that is open asks for no service."""
    principal = asked_of(request).principal
    if principal is None:
        raise AuthRequired("this needs a token or a login")
    return principal


def _service_of(request: Request, principal: Annotated[Principal, Depends(_principal_of)]) -> Service:
    return _whole_service_of(request).seen_by(principal)


def _whole_service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


InService = Annotated[Service, Depends(_service_of)]
"""The service as it is for who asks."""
WholeService = Annotated[Service, Depends(_whole_service_of)]
"""The service itself, of no site: for routes that are open, and show nothing of what is filed."""
