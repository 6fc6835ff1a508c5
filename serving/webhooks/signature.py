"""How a delivery is signed, and how its receiver checks that: nothing here needs the rest of UltraRead."""

import hashlib
import hmac
import time

SIGNATURE = "UltraRead-Signature"
DELIVERY = "UltraRead-Delivery"
"""The same at every attempt of one delivery: who had it already does nothing."""
TOLERANCE_S = 300.0


def signature(secret: str, body: bytes, at: int) -> str:
    """Value of the header: HMAC-SHA256 with the secret's text, over `<seconds since 1970>.<body>`."""
    return f"t={at},v1={_hmac(secret, body, at)}"


def is_signed(
    secret: str, header: str, body: bytes, now: float | None = None, tolerance_s: float = TOLERANCE_S
) -> bool:
    """Whether `body`, the bytes as they came, was signed with the secret, within the tolerance of now."""
    parts = (part.partition("=") for part in header.split(","))
    fields = {name: value for name, _, value in parts}
    stated, given = fields.get("t", ""), fields.get("v1", "")
    if not (stated.isascii() and stated.isdecimal() and len(stated) < 16 and given.isascii()):
        return False
    is_recent = abs((time.time() if now is None else now) - int(stated)) <= tolerance_s
    return hmac.compare_digest(given, _hmac(secret, body, int(stated))) and is_recent


def _hmac(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
