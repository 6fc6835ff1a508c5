"""Settings of access: first token, login, sessions of browsers."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, model_validator

from ultraread.errors import ConfigInsecure, RequestInvalid
from ultraread.serving.setting_groups.secret_file import secret_in

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class AccessSettings(BaseModel):
    """Who may come in, and for how long."""

    owner_token: bool = Field(
        default=True,
        description="Whether the service writes a token with all roles at site main into "
        "data_dir/owner.token, for its owner alone, where there is none. Off in profile cluster, unless "
        "stated.",
    )
    public_url: str | None = Field(
        default=None,
        description="Under which address browsers reach the service, https://em.hospital.example say; its "
        "name belongs into proxied_hosts too. Without a value, the address that they ask for.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Issuer of the OpenID Connect provider that people log in with. Without a value, a "
        "browser's session begins with a token.",
    )
    oidc_client_id: str | None = Field(default=None, description="What the provider calls this service.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="What it proves itself with; without a value, PKCE alone."
    )
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File that holds oidc_client_secret; rather this than the environment."
    )
    oidc_scopes: tuple[str, ...] = Field(
        default=("openid", "profile"), description="Scopes that are asked of the provider; openid among them."
    )
    oidc_name_claim: str = Field(
        default="preferred_username",
        description="Claim with the name for the audit trail; where it is none (an e-mail address), the user "
        "gets a number.",
    )
    oidc_roles_claim: str | None = Field(
        default=None,
        description="Claim with a user's roles or groups, which hold from login to login. Without a value, "
        "the roles are those that an administrator gives here.",
    )
    oidc_roles: dict[str, str] = Field(
        default_factory=dict,
        description="Which role stands for which value of oidc_roles_claim; without any, they are called the "
        "same.",
    )
    oidc_site_claim: str | None = Field(
        default=None, description="Claim with a user's site. Without a value, everybody is of site main."
    )
    oidc_sites: dict[str, str] = Field(
        default_factory=dict,
        description="Which site stands for which value of oidc_site_claim; without any, they are called the "
        "same.",
    )
    oidc_new_users: bool = Field(
        default=False,
        description="Whether whoever the provider vouches for becomes a user at the first login; else an "
        "administrator adds them by issuer and subject.",
    )
    session_idle_minutes: float = Field(
        default=15, gt=0, description="Minutes without a request after which a browser's session is locked."
    )
    session_hours: float = Field(
        default=12, gt=0, description="Hours after which a browser's session ends, whatever happens in it."
    )

    @model_validator(mode="after")
    def _refuse_unsafe_login(self) -> Self:
        for name in ("public_url", "oidc_issuer"):
            _refuse_plain_http(name, getattr(self, name))
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            raise RequestInvalid("oidc_issuer and oidc_client_id belong together", "Set both, or neither.")
        if self.oidc_client_secret is not None and self.oidc_client_secret_file is not None:
            raise RequestInvalid("oidc_client_secret and oidc_client_secret_file are both set", "Set one.")
        if "openid" not in self.oidc_scopes:
            raise RequestInvalid("oidc_scopes lacks openid", "Name openid among them.")
        return self

    @property
    def stated_oidc_secret(self) -> str | None:
        """The secret, from wherever it was stated. Raises ConfigInsecure where its file cannot be read."""
        if self.oidc_client_secret is not None:
            return self.oidc_client_secret.get_secret_value()
        if self.oidc_client_secret_file is None:
            return None
        return secret_in(self.oidc_client_secret_file, "oidc_client_secret")


def _refuse_plain_http(name: str, address: str | None) -> None:
    """Whoever listens on the way would be let in; nobody listens between two programs of one machine."""
    if address is None:
        return
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ConfigInsecure(f"{name} is not https", "Put a reverse proxy with TLS in front.")
    if parts.query or parts.fragment or parts.username:
        raise RequestInvalid(f"{name} is more than an address", "Leave out query, fragment and user.")
