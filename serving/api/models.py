"""Registered models: look, point an alias, withdraw."""

from fastapi import APIRouter

from ultraread.errors import ModelUnknown
from ultraread.models.promotion import Alias
from ultraread.serving.api.bodies import (
    Model,
    NewAlias,
    Page,
    PassedGate,
    Promoted,
    TouchedRead,
    Withdrawal,
    Withdrawn,
    model_shown,
)
from ultraread.serving.api.service import InService, Service

router = APIRouter(tags=["models"])


@router.get("/v1/models")
def list_models(service: InService) -> Page[Model]:
    """Every registered version, with aliases and withdrawals."""
    return Page[Model](items=_shown(service), next_cursor=None)


@router.get("/v1/models/{name}")
def show_versions(name: str, service: InService) -> Page[Model]:
    """The registered versions of one model."""
    items = _shown(service, name)
    if not items:
        raise ModelUnknown(f"{name} is not registered here", "GET /v1/models lists what is.")
    return Page[Model](items=items, next_cursor=None)


@router.get("/v1/models/{name}/{version}")
def show_model(name: str, version: str, service: InService) -> Model:
    """One model version and its card."""
    return _model(service, name, version)


@router.put("/v1/models/{name}/aliases/{alias}")
def point_alias(name: str, alias: Alias, wanted: NewAlias, service: InService) -> Promoted:
    """Point an alias to a version that passes the gates; reads that come later take the new champion."""
    judged = service.registry.judge(f"{name}/{wanted.version}", alias)
    service.registry.promote(judged, service.who, wanted.reason)
    gates = [PassedGate.model_validate(gate) for gate in judged.gates]
    return Promoted(model=_model(service, name, wanted.version), alias=alias, gates=gates)


@router.post("/v1/models/{name}/{version}/withdraw")
def withdraw(name: str, version: str, stated: Withdrawal, service: InService) -> Withdrawn:
    """Let nothing new be read with a version; answers with every read that was. A repeat answers the same."""
    _, touched = service.registry.withdraw(f"{name}/{version}", service.who, stated.reason)
    reads = [TouchedRead.model_validate(read) for read in touched]
    return Withdrawn(model=_model(service, name, version), reads=reads)


def _shown(service: Service, name: str | None = None) -> list[Model]:
    return [model_shown(one, service.default_name) for one in service.registry.standings(name)]


def _model(service: Service, name: str, version: str) -> Model:
    return model_shown(service.registry.standing(name, version), service.default_name)
