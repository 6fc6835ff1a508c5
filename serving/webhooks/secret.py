"""Secrets of webhooks: derived from one key of the installation, so that no database or backup holds one."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from ultraread.errors import ConfigInsecure
from ultraread.serving.setting_groups.secret_file import OTHERS, made_secret
from ultraread.serving.settings import Settings

KEY_FILE = "webhook.key"
LEAST_BYTES = 32


@dataclass(frozen=True, slots=True)
class WebhookKey:
    """What every secret is derived from."""

    key: bytes = field(repr=False)

    def secret(self, webhook_id: str) -> str:
        """The subscription's, `whsec_` and 256 bits."""
        derived = hmac.new(self.key, f"webhook {webhook_id}".encode(), hashlib.sha256).digest()
        return "whsec_" + base64.urlsafe_b64encode(derived).decode().rstrip("=")


def webhook_key(settings: Settings) -> WebhookKey:
    """Read the key, which is made where none is and none is named.

    Raises ConfigInsecure where others may read it, or where it is missing or too short.
    """
    file = settings.webhook_key_file or made_secret(settings.data_dir / KEY_FILE)
    try:
        others, key = file.stat().st_mode & OTHERS, file.read_bytes().strip()
    except OSError as failure:
        raise ConfigInsecure("the key of webhooks cannot be read", "Check webhook_key_file.") from failure
    if others:
        raise ConfigInsecure("others may read the key of webhooks", "chmod 600 webhook_key_file.")
    if len(key) < LEAST_BYTES:
        raise ConfigInsecure(
            f"the key of webhooks has less than {LEAST_BYTES} bytes", "Write one: openssl rand -hex 32."
        )
    return WebhookKey(key)
