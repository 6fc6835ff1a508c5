"""Browsers: log in, begin a session, see whose it is, unlock it, log out."""

import re
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from ultraread.errors import AuthCsrf, AuthInvalid, AuthRequired, LoginNotOffered
from ultraread.serving.access import logins, oidc, sessions
from ultraread.serving.access.browsers import Browsers
from ultraread.serving.access.entrance import Entrance
from ultraread.serving.access.id_tokens import REFUSED, new_login
from ultraread.serving.access.principal import Principal, Role
from ultraread.serving.access.sessions import SessionRules
from ultraread.serving.api.bodies import Shown
from ultraread.serving.api.cookies import LOGIN, Cookies, bearer_of, cookies_of
from ultraread.serving.api.service import InService, Service, WholeService
from ultraread.serving.settings import Settings

CALLBACK = "/login/callback"
LOCAL_ADDRESS = re.compile(r"/(?![/\\])[!-~]*")
AFTER_LOGIN = "/v1/session"

router = APIRouter(tags=["access"])


class Session(Shown):
    """Who asks. `csrf_token` goes into X-CSRF-Token of whatever changes something; without a cookie, null."""

    who: str
    site: str
    roles: list[Role]
    csrf_token: str | None


class Ended(Shown):
    """A session that is no more."""

    state: Literal["ended"] = "ended"


@router.get("/login", status_code=303, response_class=RedirectResponse)
def login(
    request: Request,
    service: WholeService,
    goes_to: Annotated[str, Query(alias="next", max_length=500)] = AFTER_LOGIN,
) -> Response:
    """Go to the provider of logins. Of a session that is locked, it asks for the password again."""
    cookies = cookies_of(request)
    locked = _locked(request, cookies)
    begun = new_login()
    max_age_s = 0 if locked else _idle_s(service.settings)
    address = _provider(request).address(begun, cookies.address(CALLBACK), max_age_s)
    goes_to = goes_to if LOCAL_ADDRESS.fullmatch(goes_to) else AFTER_LOGIN
    with service.store.writing() as session:
        logins.keep(session, logins.KeptLogin(begun, locked, goes_to))
    answer = RedirectResponse(address, 303)
    cookies.set_login(answer, begun.state, int(logins.LOGIN_S))
    return answer


@router.get(CALLBACK, status_code=303, response_class=RedirectResponse)
def callback(
    request: Request,
    service: WholeService,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    iss: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Where the provider sends the browser back to: a session begins, with a new cookie."""
    cookies = cookies_of(request)
    if not state or not code or cookies.login != state:
        raise AuthInvalid(REFUSED)
    with service.store.writing() as session:
        kept = logins.take(session, state)
    max_age_s = 0 if kept.unlocks else _idle_s(service.settings)
    answered = oidc.Answered(code, iss)
    claims = _provider(request).claims(kept.login, answered, cookies.address(CALLBACK), max_age_s)
    who = logins.logged_in(service.store, service.settings, claims)
    answer = RedirectResponse(kept.goes_to, 303)
    cookies.set_session(answer, _begun(service, who, cookies.session))
    cookies.drop(answer, LOGIN)
    return answer


@router.post("/v1/session", status_code=201)
def begin_session(request: Request, service: WholeService, response: Response) -> Session:
    """Begin a browser's session with a token in Authorization, where there is no provider of logins."""
    who, cookies = _proved(request), cookies_of(request)
    cookie = _begun(service, who, cookies.session)
    cookies.set_session(response, cookie)
    return _shown(who, cookie)


@router.get("/v1/session")
def show_session(request: Request, service: InService) -> Session:
    """Who asks, with a cookie or a token."""
    is_token = bearer_of(request.headers) is not None
    return _shown(service.principal, None if is_token else cookies_of(request).session)


@router.post("/v1/session/unlock")
def unlock_session(request: Request, service: WholeService, response: Response) -> Session:
    """Go on after a lock with a token of the same person in Authorization. The cookie is a new one."""
    who, cookies = _proved(request), cookies_of(request)
    if cookies.session is None:
        raise AuthRequired("there is no session to unlock")
    with service.store.writing() as session:
        cookie = sessions.unlock(session, sessions.key_of(cookies.session), who, rules_of(service.settings))
    _browsers(request).forget(cookies.session)
    cookies.set_session(response, cookie)
    return _shown(who, cookie)


@router.post("/logout")
def log_out(request: Request, service: WholeService, response: Response, everywhere: bool = False) -> Ended:
    """End the session, locked or not; with `everywhere`, all sessions of the same person."""
    cookies = cookies_of(request)
    if cookies.session is None:
        raise AuthRequired("there is no session to end")
    refuse_without_csrf(request, cookies.session)
    with service.store.writing() as session:
        sessions.end(session, sessions.key_of(cookies.session), everywhere)
    _browsers(request).forget(cookies.session)
    cookies.drop_session(response)
    return Ended()


def refuse_without_csrf(request: Request, cookie: str) -> None:
    """Raises AuthCsrf."""
    if not sessions.is_csrf_token(cookie, request.headers.get(sessions.CSRF_HEADER, "")):
        raise AuthCsrf("the request does not say the session's token")


def rules_of(settings: Settings) -> SessionRules:
    """In seconds."""
    return SessionRules(60 * settings.session_idle_minutes, 3600 * settings.session_hours)


def _begun(service: Service, who: Principal, former: str | None) -> str:
    """A new session; the one that the browser had before is over."""
    with service.store.writing() as session:
        if former is not None:
            sessions.replace(session, sessions.key_of(former))
        return sessions.begin(session, who, rules_of(service.settings))


def _proved(request: Request) -> Principal:
    """Who stands behind the token in Authorization. Raises AuthRequired, AuthInvalid."""
    token = bearer_of(request.headers)
    if token is None:
        raise AuthRequired("this needs a token in Authorization")
    return cast(Entrance, request.app.state.entrance).admit(token)


def _locked(request: Request, cookies: Cookies) -> str | None:
    """The key of the browser's session, where that is locked."""
    is_locked = cookies.session is not None and _browsers(request).is_locked(cookies.session)
    return sessions.key_of(cookies.session) if cookies.session and is_locked else None


def _provider(request: Request) -> oidc.Provider:
    provider = request.app.state.provider
    if provider is None:
        raise LoginNotOffered("this service knows no provider of logins")
    return cast(oidc.Provider, provider)


def _browsers(request: Request) -> Browsers:
    return cast(Browsers, request.app.state.browsers)


def _idle_s(settings: Settings) -> int:
    return int(60 * settings.session_idle_minutes)


def _shown(who: Principal, cookie: str | None) -> Session:
    csrf = sessions.csrf_token_of(cookie) if cookie else None
    return Session(who=who.who, site=who.site, roles=sorted(who.roles), csrf_token=csrf)
