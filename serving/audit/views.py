"""Which answers show patient data, and what the audit trail says of whoever got one.

Every GET of the table of routes is in VIEWS or in SHOW_NO_PATIENT: a route in neither fails the tests.
"""

import datetime as dt
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.serving.access.principal import Principal
from ultraread.serving.access.routes import Operation
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import AuditRow

HOUR_S = 3600.0
REMEMBERED = 10_000
"""Viewings of the last hour that a process knows by heart; the others it looks up."""


@dataclass(frozen=True, slots=True)
class View:
    """What happens when a route answers: an event about the id that the address holds under `subject`."""

    what: str
    subject: str
    is_hourly: bool = False
    """One event an hour for each principal and subject: a viewing is thousands of tiles."""
    is_list: bool = False
    """The event names the ids of what was listed."""


def _gets(view: View, *paths: str) -> dict[Operation, View]:
    return {Operation("GET", path): view for path in paths}


VIEWS: dict[Operation, View] = {
    **_gets(View("slides_listed", "slides", is_list=True), "/v1/slides"),
    **_gets(View("slide_shown", "{slide_id}"), "/v1/slides/{slide_id}"),
    **_gets(
        View("slide_viewed", "{slide_id}", is_hourly=True),
        "/v1/slides/{slide_id}/images/{n}.dzi",
        "/v1/slides/{slide_id}/images/{n}_files/{level}/{column}_{row}.jpg",
        "/v1/slides/{slide_id}/images/{n}/thumbnail",
    ),
    **_gets(
        View("slide_viewed", "{identifier}", is_hourly=True),
        "/iiif/3/{identifier}",
        "/iiif/3/{identifier}/info.json",
        "/iiif/3/{identifier}/{region}/{size}/{rotation}/{quality_and_format}",
    ),
    **_gets(View("cases_listed", "cases", is_list=True), "/v1/cases"),
    **_gets(View("case_shown", "{case_id}"), "/v1/cases/{case_id}", "/v1/cases/{case_id}/links"),
    **_gets(View("scan_records_listed", "scan-records", is_list=True), "/v1/scan-records"),
    **_gets(View("scan_record_shown", "{record_id}"), "/v1/scan-records/{record_id}"),
    **_gets(View("billing_support_shown", "{record_id}"), "/v1/scan-records/{record_id}/billing-support"),
    **_gets(View("findings_shown", "{read_id}"), "/v1/reads/{read_id}/findings"),
    **_gets(View("result_exported", "{read_id}"), "/v1/reads/{read_id}/bundle.zip"),
    **_gets(
        View("result_shown", "{read_id}"),
        "/v1/reads/{read_id}/tiles.csv",
        "/v1/reads/{read_id}/overlay.geojson",
        "/v1/reads/{read_id}/heatmap",
        "/v1/reads/{read_id}/thumbnail",
        "/v1/reads/{read_id}/patch-map",
        "/v1/reads/{read_id}/provenance",
    ),
    **_gets(View("audit_trail_shown", "audit", is_hourly=True), "/v1/audit"),
}

SHOW_NO_PATIENT = {
    "/v1/webhooks": "addresses of other systems",
    "/v1/session": "who is logged in",
    "/login": "the way in",
    "/login/callback": "the way in",
    "/v1/audit/export": "an event of its own: audit_exported",
    "/healthz": "whether the process lives",
    "/readyz": "whether the service is well",
    "/metrics": "figures of the service",
    "/v1/uploads": "sizes and digests of what the same site sends",
    "/v1/uploads/{upload_id}": "how far an upload is",
    "/v1/calibrations": "pixel sizes of instruments",
    "/v1/reads": "ids, digests and states",
    "/v1/reads/{read_id}": "id, digests and state, asked several times a second",
    "/v1/reads/{read_id}/events": "progress",
    "/v1/users": "who may do what",
    "/v1/users/{user_id}": "who may do what",
    "/v1/tokens": "who may do what",
    "/v1/models": "models",
    "/v1/models/{name}": "models",
    "/v1/models/{name}/{version}": "models",
}


@dataclass(slots=True)
class Viewings:
    """Writes who saw what. One per process; shared by its threads."""

    store: Store
    _noted: OrderedDict[tuple[str, ...], float] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_noted(self, principal: Principal, view: View, subject: str) -> bool:
        """Whether this process knows that the trail says so already; touches nothing else."""
        if not view.is_hourly:
            return False
        with self._lock:
            until = self._noted.get(_key(principal, view, subject), 0.0)
        return time.monotonic() < until

    def note(self, principal: Principal, view: View, subject: str, detail: Mapping[str, Any]) -> None:
        """Add the event, on the disk before this returns. Raises Unavailable, StorageFull."""
        with self.store.of_site(principal.site).writing() as session:
            ago_s = _noted_ago_s(session, principal, view, subject) if view.is_hourly else None
            if ago_s is None:
                AuditLog(session, principal.site).append(principal.who, view.what, subject, detail)
        if view.is_hourly:
            with self._lock:
                self._noted[_key(principal, view, subject)] = time.monotonic() + HOUR_S - (ago_s or 0.0)
                while len(self._noted) > REMEMBERED:
                    self._noted.popitem(last=False)


def _noted_ago_s(session: Session, principal: Principal, view: View, subject: str) -> float | None:
    """How many seconds ago this process or another replica noted it; None where that is over an hour."""
    same = (AuditRow.who == principal.who, AuditRow.what == view.what, AuditRow.subject == subject)
    mine = select(AuditRow.at, utc_now()).where(AuditRow.site == principal.site, *same)
    found = session.execute(mine.where(AuditRow.at >= utc_in(-HOUR_S)).order_by(AuditRow.at.desc()).limit(1))
    noted = found.first()
    if noted is None:
        return None
    then, now = (dt.datetime.fromisoformat(at) for at in noted)
    return (now - then).total_seconds()


def _key(principal: Principal, view: View, subject: str) -> tuple[str, ...]:
    return principal.site, principal.who, view.what, subject
