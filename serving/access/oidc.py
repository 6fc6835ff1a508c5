"""The provider of logins (OpenID Connect): authorization code with PKCE, and what it vouches for, checked."""

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ultraread.errors import AuthInvalid, Unavailable
from ultraread.serving.setting_groups.access import AccessSettings

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Of id tokens: none without a signature, and none that whoever can check one could make."""
LEEWAY_S = 60
"""How far the provider's clock may be off."""
TIMEOUT_S = 10.0
KEYS_S = 60.0
"""Seconds within which keys are not fetched again for a key that is not among them."""
REFUSED = "the login was refused"

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewLogin:
    """What one login is bound to; all of it random."""

    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636)."""


def new_login() -> NewLogin:
    """Bound to nothing yet."""
    return NewLogin(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


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
        self._lock = threading.Lock()
        self._described: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_at = 0.0

    def address(self, login: NewLogin, redirect_uri: str, max_age_s: int) -> str:
        """Where the browser goes; whoever proved who they are longer ago than `max_age_s` does so again."""
        asked = {"max_age": str(max_age_s)} | ({"prompt": "login"} if max_age_s == 0 else {})
        with self._client(redirect_uri) as client:
            url, _ = client.create_authorization_url(
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
        with self._client(redirect_uri) as client:
            token = self._fetched(client, login, answered.code)
            claims = self._checked(str(token.get("id_token", "")), login, max_age_s)
            return {**self._user_info(client, str(claims["sub"])), **claims}

    def _client(self, redirect_uri: str) -> OAuth2Client:
        return OAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=self._scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )

    def _fetched(self, client: OAuth2Client, login: NewLogin, code: str) -> dict[str, Any]:
        try:
            token: dict[str, Any] = client.fetch_token(
                self._endpoint("token_endpoint"), code=code, code_verifier=login.verifier
            )
        except OAuthError as refused:
            raise AuthInvalid(REFUSED) from refused
        except (httpx.HTTPError, ValueError) as failure:
            raise _away() from failure
        return token

    def _checked(self, id_token: str, login: NewLogin, max_age_s: int) -> dict[str, Any]:
        """Signature, issuer, audience, times and nonce (OpenID Connect Core 1.0, 3.1.3.7)."""
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": login.nonce},
        )
        try:
            claims = self._decoded(id_token).claims
            registry.validate(claims)
        except (JoseError, ValueError) as refused:
            raise AuthInvalid(REFUSED) from refused
        if claims.get("azp", self._client_id) != self._client_id:
            raise AuthInvalid(REFUSED)
        if not _is_fresh(claims.get("auth_time"), max_age_s):
            raise AuthInvalid(REFUSED)
        return dict(claims)

    def _decoded(self, id_token: str) -> jwt.Token:
        """With the keys that are known; once more with new ones, where providers change theirs."""
        try:
            return jwt.decode(id_token, self._key_set(fresh=False), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            return jwt.decode(id_token, self._key_set(fresh=True), algorithms=list(ALGORITHMS))

    def _key_set(self, fresh: bool) -> KeySet:
        with self._lock:
            is_old = time.monotonic() - self._keys_at > KEYS_S
            if self._keys is None or (fresh and is_old):
                self._keys = KeySet.import_key_set(self._got(self._endpoint("jwks_uri")))  # type: ignore[arg-type]
                self._keys_at = time.monotonic()
            return self._keys

    def _user_info(self, client: OAuth2Client, subject: str) -> dict[str, Any]:
        """More about the same person, where the provider offers it. Raises AuthInvalid."""
        if "userinfo_endpoint" not in self._description():
            return {}
        try:
            answer = client.get(self._endpoint("userinfo_endpoint")).raise_for_status()
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


def _is_fresh(auth_time: object, max_age_s: int) -> bool:
    """Whether the person proved themselves as lately as was asked for."""
    return isinstance(auth_time, int | float) and time.time() - auth_time <= max_age_s + LEEWAY_S


def _away() -> Unavailable:
    return Unavailable("the provider of logins does not answer", "Try again; a token lets you in meanwhile.")
