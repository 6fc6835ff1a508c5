"""The cookies of browsers: what they are called, and whom they are sent to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Response
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from ultraread.errors import AuthInvalid
from ultraread.serving.access.entrance import NOT_VALID

SESSION = "ultraread"
LOGIN = "ultraread-login"
HOST_ONLY = "__Host-"
"""A name that browsers take over TLS alone, for this host and all of it."""
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cookies:
    """Of one request. `base` is the address under which the browser knows the service."""

    base: str
    sent: Mapping[str, str]

    @property
    def is_private(self) -> bool:
        return self.base.startswith("https://")

    @property
    def session(self) -> str | None:
        return self.sent.get(self._name(SESSION))

    @property
    def login(self) -> str | None:
        return self.sent.get(self._name(LOGIN))

    def address(self, path: str) -> str:
        """Of this service, as the browser asks for it."""
        return f"{self.base}{path}"

    def set_session(self, answer: Response, cookie: str) -> None:
        """Until the browser is closed; how long it counts, the store says."""
        self._set(answer, SESSION, cookie, None)

    def set_login(self, answer: Response, state: str, longest_s: int) -> None:
        """What the browser brings back from the provider: a login begun elsewhere is none of its own."""
        self._set(answer, LOGIN, state, longest_s)

    def drop_session(self, answer: Response) -> None:
        """It is over."""
        self.drop(answer, SESSION)

    def drop(self, answer: Response, name: str) -> None:
        """It is used up."""
        self._set(answer, name, "", 0)

    def _set(self, answer: Response, name: str, value: str, longest_s: int | None) -> None:
        """Lax: the provider sends the browser back from another site; changes ask for a CSRF token, too."""
        answer.set_cookie(
            self._name(name),
            value,
            max_age=longest_s,
            path="/",
            secure=self.is_private,
            httponly=True,
            samesite="lax",
        )

    def _name(self, name: str) -> str:
        return f"{HOST_ONLY}{name}" if self.is_private else name


def cookies_of(request: HTTPConnection) -> Cookies:
    """The setting `public_url` says where the service is; else the request does."""
    public: str | None = request.app.state.service.settings.public_url
    asked = f"{request.url.scheme}://{request.headers.get('host', '')}"
    return Cookies((public or asked).rstrip("/"), request.cookies)


def bearer_of(headers: Headers) -> str | None:
    """The token in Authorization; None without the header. Raises AuthInvalid where it is something else."""
    stated = headers.get("authorization")
    if stated is None:
        return None
    token = _BEARER.fullmatch(stated.strip())
    if token is None:
        raise AuthInvalid(NOT_VALID)
    return token.group(1)
