"""What would lay the service open, by its environment or its files: start is refused, and doctor tells."""

import os
from collections.abc import Mapping
from pathlib import Path

from ultraread.errors import ConfigInsecure
from ultraread.serving.setting_groups.secret_file import is_for_others
from ultraread.serving.settings import Settings
from ultraread.serving.webhooks.secret import KEY_FILE

FOR_ALL_EYES = ("certificate_file", "audit_checkpoint_file")
"""Settings of files that hold no secret."""
KNOWN_SECRETS = frozenset(
    {"", "admin", "changeme", "change-me", "default", "minioadmin", "password", "password1", "password123"}
    | {"password1234", "postgres", "root", "rustfsadmin", "secret", "test", "ultraread"}
)
"""What servers come with (MLflow: password1234, MinIO: minioadmin), and what everybody tries first."""
SECRETS_OF_THE_ENVIRONMENT = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")
DEBUGGING = {
    "RAY_DEBUG_POST_MORTEM": "a failure would open a port to whoever debugs",
    "SSLKEYLOGFILE": "the keys of every encrypted connection would be written down",
    "MLFLOW_TRACKING_INSECURE_TLS": "whoever listens on the way could be the MLflow server",
}
"""Variables that are set while somebody looks for a fault, and why none may be forgotten."""
NAMES_A_FILE = "SSLKEYLOGFILE"
OFF = frozenset({"", "0", "false", "no"})


def refuse_insecure(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigInsecure for secrets that others may read or guess, open results, and debugging."""
    for file in secret_files(settings):
        if is_for_others(file):
            raise ConfigInsecure(f"others may read {file}", "chmod 600 it.")
    for name, secret in _stated_secrets(settings, environment):
        if secret.lower() in KNOWN_SECRETS:
            raise ConfigInsecure(f"the secret of {name} is one that everybody tries", "Make a random one.")
    _refuse_open_results(settings)
    for variable, why in DEBUGGING.items():
        if _is_on(variable, environment.get(variable, "")):
            raise ConfigInsecure(f"{variable} is set: {why}", "Unset it.")


def _refuse_open_results(settings: Settings) -> None:
    delivered = settings.deliver_url
    if delivered and any(_is_within(delivered, place) for place in settings.ingest_urls):
        raise ConfigInsecure(
            "deliver_url lies below a place of ingest_urls: results of all sites could be fetched as slides",
            "Deliver to another place.",
        )


def _is_within(url: str, place: str) -> bool:
    """Below it, for some site."""
    return f"{url.rstrip('/')}/".startswith(f"{place.partition('{site}')[0].rstrip('/')}/")


def _is_on(variable: str, value: str) -> bool:
    return value != "" if variable == NAMES_A_FILE else value.lower() not in OFF


def secret_files(settings: Settings) -> list[Path]:
    """Files that hold secrets, by settings or by their name in data_dir, as far as they are there."""
    names = [name for name in type(settings).model_fields if name.endswith("_file")]
    stated = [getattr(settings, name) for name in names if name not in FOR_ALL_EYES]
    own = [settings.owner_token_file, settings.data_dir / KEY_FILE]
    return [file for file in (*stated, *own) if isinstance(file, Path) and file.is_file()]


def _stated_secrets(settings: Settings, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """By name, those that were chosen by people; a variable that is empty states none."""
    stated = {
        "database_url": _password_in(settings.stated_database),
        "oidc_client_secret": settings.stated_oidc_secret,
        **{name: environment.get(name) or None for name in SECRETS_OF_THE_ENVIRONMENT},
    }
    return [(name, secret) for name, secret in stated.items() if secret is not None]


def _password_in(database: str | None) -> str | None:
    """Raises RequestInvalid for what is no address of a database."""
    from ultraread.serving.store.engine import url_of

    return url_of(database).password if database else None
