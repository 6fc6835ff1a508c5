"""How often a principal may ask, and how often an address may fail to say who it is."""

import hashlib
import ipaddress
import math
import secrets
from collections import OrderedDict

from ultraread.errors import RateLimited
from ultraread.serving.limits.buckets import TokenBuckets
from ultraread.serving.setting_groups.limits import LimitsSettings

REMEMBERED = 4096
NEIGHBOURS = 64
"""Bits of an IPv6 address that one subscriber is given; the rest is theirs to vary."""


class Rates:
    """One per process. What was seen of credentials is kept as digests under a key of this process."""

    def __init__(self, settings: LimitsSettings) -> None:
        self._principals = TokenBuckets(settings.rate_per_s, settings.rate_burst)
        self._strangers = TokenBuckets(settings.stranger_rate_per_s, settings.stranger_burst)
        self._good = OrderedDict[bytes, None]()
        self._key = secrets.token_bytes(32)

    def admit(self, who: str) -> None:
        """Count a request of a principal. Raises RateLimited."""
        _refuse(self._principals.take(who))

    def refuse_stranger(self, address: str, credentials: str) -> None:
        """Raise RateLimited where too many from this address could not say who they are.

        Credentials that were good a moment ago are not held up by what others do at the same address.
        """
        if self._digest(credentials) not in self._good:
            _refuse(self._strangers.wait_s(_neighbours(address)))

    def was_stranger(self, address: str) -> None:
        """Count a request that nobody answers for."""
        self._strangers.take(_neighbours(address))

    def was_known(self, credentials: str) -> None:
        """Remember that somebody answers for these credentials."""
        digest = self._digest(credentials)
        self._good[digest] = None
        self._good.move_to_end(digest)
        while len(self._good) > REMEMBERED:
            self._good.popitem(last=False)

    def was_refused(self, credentials: str) -> None:
        """They are good no more."""
        self._good.pop(self._digest(credentials), None)

    def _digest(self, credentials: str) -> bytes:
        return hashlib.blake2b(credentials.encode(), key=self._key).digest() if credentials else b""


def _refuse(wait_s: float) -> None:
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        raise RateLimited(f"too many requests; ask again in {seconds} s", retry_after_s=seconds)


def _neighbours(address: str) -> str:
    """What one subscriber holds: an IPv4 address, or a network of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, NEIGHBOURS), strict=False)) if parsed.version == 6 else address
