"""What a provider of logins says of somebody, once its signature and all that it is bound to were checked."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ultraread.errors import AuthInvalid
from ultraread.serving.setting_groups.access import AccessSettings

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""None without a signature, and none that whoever can check one could make."""
LEEWAY_S = 60
"""How far the provider's clock may be off."""
REFUSED = "the login was refused"

Claims = Mapping[str, Any]
Keys = Callable[[bool], KeySet]
"""The provider's keys; True: also those that it has only now."""


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


class IdTokens:
    """Those of one provider for one client (OpenID Connect Core 1.0, 3.1.3.7)."""

    def __init__(self, settings: AccessSettings, keys: Keys) -> None:
        self._issuer, self._client_id = settings.oidc_issuer or "", settings.oidc_client_id or ""
        self._keys = keys

    def checked(self, id_token: str, login: NewLogin, max_age_s: int) -> dict[str, Any]:
        """Its claims. Raises AuthInvalid, with the same words for every fault."""
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
        is_for_us = claims.get("azp", self._client_id) == self._client_id
        if not is_for_us or not _is_fresh(claims.get("auth_time"), max_age_s):
            raise AuthInvalid(REFUSED)
        return dict(claims)

    def _decoded(self, id_token: str) -> jwt.Token:
        """With the keys that are known; once more with new ones, where the provider changed them."""
        try:
            return jwt.decode(id_token, self._keys(False), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            return jwt.decode(id_token, self._keys(True), algorithms=list(ALGORITHMS))


def _is_fresh(auth_time: object, max_age_s: int) -> bool:
    """Whether the person proved who they are as lately as was asked for."""
    return isinstance(auth_time, int | float) and time.time() - auth_time <= max_age_s + LEEWAY_S
