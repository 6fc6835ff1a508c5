"""The provider of logins (OpenID Connect): authorization code with PKCE, and what it vouches for, checked."""

import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from joserfc.jwk import KeySet

from ultraread.errors import AuthInvalid, Unavailable
from ultraread.serving.access.id_tokens import REFUSED, Claims, IdTokens, NewLogin
from ultraread.serving.setting_groups.access import AccessSettings

TIMEOUT_S = 10.0
KEYS_S = 60.0
"""Seconds within which keys are not fetched again for a key that is not among them."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the provider's redirect brought along, all of it from outside."""

    code: str
    issuer: str | None


class Provider:
    """One per process; shared by its threads. Asks for keys and addresses once."""

    def __init__(self, settings: AccessSettings) -> None:
        self._issuer = settings.oidc_issuer or ""
        self._client_id = settings.oidc_client_id or ""
        self._secret = settings.stated_oidc_secret
        self._scope = " ".join(settings.oidc_scopes)
        self._id_tokens = IdTokens(settings, self._key_set)
        self._lock = threading.Lock()
        self._described: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_at = 0.0

    def address(self, login: NewLogin, redirect_uri: str, max_age_s: int) -> str:
        """Where the browser goes; whoever proved who they are longer ago than `max_age_s` does so again."""
        asked = {"max_age": str(max_age_s)} | ({"prompt": "login"} if max_age_s == 0 else {})
        url, _ = self._client(None, redirect_uri).create_authorization_url(
            self._endpoint("authorization_endpoint"),
            state=login.state,
            code_verifier=login.verifier,
            nonce=login.nonce,
            **asked,
        )
        return str(url)

    def claims(self, login: NewLogin, answered: Answered, redirect_uri: str, max_age_s: int) -> Claims:
        """What the provider vouches for. Raises AuthInvalid, Unavailable."""
        self._refuse_other_issuer(answered.issuer)
        with httpx.Client(timeout=TIMEOUT_S) as http:
            token = self._fetched(self._client(http, redirect_uri), login, answered.code)
            claims = self._id_tokens.checked(str(token.get("id_token", "")), login, max_age_s)
            http.headers["Authorization"] = f"Bearer {token.get('access_token')}"
            return {**self._user_info(http, str(claims["sub"])), **claims}

    def _client(self, http: httpx.Client | None, redirect_uri: str) -> Any:  # noqa: ANN401  # it has no types
        return OAuth2Client(
            http,
            client_id=self._client_id,
            scope=self._scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )

    def _fetched(self, client: Any, login: NewLogin, code: str) -> dict[str, Any]:  # noqa: ANN401
        """With the client's secret, or with its id alone."""
        proof = httpx.BasicAuth(self._client_id, self._secret) if self._secret else httpx.Auth()
        public = {} if self._secret else {"client_id": self._client_id}
        try:
            token: dict[str, Any] = client.fetch_token(
                self._endpoint("token_endpoint"),
                code=code,
                code_verifier=login.verifier,
                auth=proof,
                **public,
            )
        except OAuth2Error as refused:
            raise AuthInvalid(REFUSED) from refused
        except (httpx.HTTPError, ValueError) as failure:
            raise _away() from failure
        return token

    def _key_set(self, fresh: bool) -> KeySet:
        """The provider's; fetched again only for a key that is not among them, and not each time."""
        with self._lock:
            is_old = time.monotonic() - self._keys_at > KEYS_S
            if self._keys is None or (fresh and is_old):
                found: Any = self._got(self._endpoint("jwks_uri"))
                self._keys = KeySet.import_key_set(found)
                self._keys_at = time.monotonic()
            return self._keys

    def _user_info(self, http: httpx.Client, subject: str) -> dict[str, Any]:
        """More about the same person, where the provider offers it. Raises AuthInvalid."""
        if "userinfo_endpoint" not in self._description():
            return {}
        try:
            answer = http.get(self._endpoint("userinfo_endpoint")).raise_for_status()
            info: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as failure:
            raise _away() from failure
        if info.get("sub") != subject:
            raise AuthInvalid(REFUSED)
        return info

    def _refuse_other_issuer(self, issuer: str | None) -> None:
        """RFC 9207: an answer of another provider that was passed off as this one's."""
        promised = self._description().get("authorization_response_iss_parameter_supported", False)
        if issuer != self._issuer and (issuer is not None or promised):
            raise AuthInvalid(REFUSED)

    def _endpoint(self, name: str) -> str:
        """Raises Unavailable where the provider names none, or one that would be asked in the clear."""
        address = str(self._description().get(name, ""))
        is_private = address.startswith("https://") or urlsplit(self._issuer).scheme == "http"
        if not address or not is_private:
            raise Unavailable(f"the provider of logins names no {name} to be used", "Check oidc_issuer.")
        return address

    def _description(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, fetched once."""
        if not self._described:
            found = self._got(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self._issuer:
                raise Unavailable("the provider of logins calls itself otherwise", "Check oidc_issuer.")
            self._described = found
        return self._described

    def _got(self, address: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = httpx.get(address, timeout=TIMEOUT_S).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as failure:
            raise _away() from failure
        return found


def _away() -> Unavailable:
    return Unavailable("the provider of logins does not answer", "Try again; a token lets you in meanwhile.")
