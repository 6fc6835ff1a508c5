"""Which role may ask for what: the one table. A route without a row keeps the service from starting."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from starlette.routing import compile_path

from ultraread.serving.access.principal import Principal, Role, Scope
from ultraread.serving.store.tables import MAIN_SITE

SAFE = frozenset({"GET", "HEAD"})

EVERYBODY = frozenset(Role)
SEERS = frozenset({Role.SUBMITTER, Role.PATHOLOGIST, Role.ML_ENGINEER, Role.AUDITOR})
"""Whoever looks at slides and results."""
SENDERS = frozenset({Role.SUBMITTER, Role.PATHOLOGIST})
"""Whoever files slides and asks for reads."""
SIGNERS = frozenset({Role.PATHOLOGIST})
"""Whoever vouches for what is said of a slide."""
ENGINEERS = frozenset({Role.ML_ENGINEER})
AUDITORS = frozenset({Role.AUDITOR})
ADMINS = frozenset({Role.ADMIN})


class Operation(NamedTuple):
    """A method and an address with its holes."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may: any of the roles, where `at_main` only at the main site, with the scope."""

    roles: frozenset[Role]
    at_main: bool = False
    is_metrics: bool = False
    is_open: bool = False

    def allows(self, principal: Principal) -> bool:
        is_there = principal.site == MAIN_SITE or not self.at_main
        return is_there and not self.roles.isdisjoint(principal.roles)

    def scope_for(self, method: str) -> Scope:
        if self.is_metrics:
            return Scope.METRICS
        return Scope.READ if method in SAFE else Scope.WRITE


OPEN = Rule(frozenset(), is_open=True)
"""Asked without a token: tells nothing but that there is a service, or is the way in itself."""


def _rows(rule: Rule, *operations: str) -> dict[Operation, Rule]:
    return {Operation(*one.split()): rule for one in operations}


TABLE: dict[Operation, Rule] = {
    **_rows(OPEN, "GET /healthz", "GET /readyz"),
    **_rows(
        OPEN,
        "GET /login",
        "GET /login/callback",
        "POST /logout",
        "POST /v1/session",
        "POST /v1/session/unlock",
    ),
    **_rows(Rule(ADMINS, at_main=True, is_metrics=True), "GET /metrics"),
    **_rows(
        Rule(SENDERS),
        "POST /v1/uploads",
        "GET /v1/uploads",
        "GET /v1/uploads/{upload_id}",
        "PUT /v1/uploads/{upload_id}",
        "DELETE /v1/uploads/{upload_id}",
        "POST /v1/slides",
        "POST /v1/cases",
        "PATCH /v1/scan-records/{record_id}",
        "POST /v1/scan-records/{record_id}/consultations",
        "POST /v1/calibrations",
        "POST /v1/reads",
        "POST /v1/reads/{read_id}/cancel",
    ),
    **_rows(
        Rule(SEERS),
        "GET /v1/slides",
        "GET /v1/slides/{slide_id}",
        "GET /v1/slides/{slide_id}/images/{n}.dzi",
        "GET /v1/slides/{slide_id}/images/{n}_files/{level}/{column}_{row}.jpg",
        "GET /v1/slides/{slide_id}/images/{n}/thumbnail",
        "GET /iiif/3/{identifier}",
        "GET /iiif/3/{identifier}/info.json",
        "GET /iiif/3/{identifier}/{region}/{size}/{rotation}/{quality_and_format}",
        "GET /v1/cases",
        "GET /v1/cases/{case_id}",
        "GET /v1/cases/{case_id}/links",
        "GET /v1/scan-records",
        "GET /v1/scan-records/{record_id}",
        "GET /v1/scan-records/{record_id}/billing-support",
        "GET /v1/calibrations",
        "GET /v1/reads",
        "GET /v1/reads/{read_id}",
        "GET /v1/reads/{read_id}/events",
        "GET /v1/reads/{read_id}/findings",
        "GET /v1/reads/{read_id}/bundle.zip",
        "GET /v1/reads/{read_id}/tiles.csv",
        "GET /v1/reads/{read_id}/overlay.geojson",
        "GET /v1/reads/{read_id}/heatmap",
        "GET /v1/reads/{read_id}/thumbnail",
        "GET /v1/reads/{read_id}/patch-map",
        "GET /v1/reads/{read_id}/provenance",
    ),
    **_rows(
        Rule(SIGNERS),
        "POST /v1/scan-records/{record_id}/quality-review",
        "POST /v1/scan-records/{record_id}/consultations/{consultation_id}/answer",
    ),
    **_rows(
        Rule(EVERYBODY),
        "GET /v1/session",
        "GET /v1/models",
        "GET /v1/models/{name}",
        "GET /v1/models/{name}/{version}",
    ),
    **_rows(
        Rule(ENGINEERS, at_main=True),
        "PUT /v1/models/{name}/aliases/{alias}",
        "POST /v1/models/{name}/{version}/withdraw",
    ),
    **_rows(Rule(AUDITORS), "GET /v1/audit", "GET /v1/audit/export"),
    **_rows(
        Rule(ADMINS),
        "POST /v1/tokens",
        "GET /v1/tokens",
        "DELETE /v1/tokens/{token_id}",
        "POST /v1/users",
        "GET /v1/users",
        "GET /v1/users/{user_id}",
        "PUT /v1/users/{user_id}/roles",
        "DELETE /v1/users/{user_id}",
        "POST /v1/webhooks",
        "GET /v1/webhooks",
        "DELETE /v1/webhooks/{webhook_id}",
        "POST /v1/webhooks/{webhook_id}/test",
        "POST /v1/webhooks/retry",
    ),
}


class RouteTable:
    """Finds the rows of a request."""

    def __init__(self, table: dict[Operation, Rule]) -> None:
        compiled = {path: compile_path(path)[0] for _, path in table}
        self._rows = [(compiled[one.path], one, rule) for one, rule in table.items()]

    def rows_of(self, method: str, path: str) -> list[tuple[Operation, Rule]]:
        """Every row that the address fits: who asks has to pass all of them."""
        found = ((one, rule) for fits, one, rule in self._rows if one.method == method and fits.match(path))
        return list(found)


def refuse_missing_rows(operations: Iterable[Operation]) -> None:
    """Raise RuntimeError, which no user meets, where routes and rows are not the same."""
    there = set(operations)
    missing, spare = there - TABLE.keys(), TABLE.keys() - there
    if missing or spare:
        raise RuntimeError(f"routes without a row: {sorted(missing)}; rows without a route: {sorted(spare)}")


def table_of_routes() -> str:
    """The table in Markdown, as docs/guides/access.md shows it."""
    heads = "".join(f" {role} |" for role in Role)
    lines = [f"| route |{heads} where |", "|---|" + "---|" * (len(Role) + 1)]
    for operation, rule in TABLE.items():
        marks = "".join(f" {'x' if role in rule.roles else ''} |" for role in Role)
        where = "open" if rule.is_open else "main site" if rule.at_main else ""
        lines.append(f"| `{operation.method} {operation.path}` |{marks} {where} |")
    return "\n".join(lines)
