"""Buckets and rates: what is allowed goes through, what is more waits, and memory stays bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.errors import RateLimited
from ultraread.serving.limits import buckets
from ultraread.serving.limits.buckets import TokenBuckets
from ultraread.serving.limits.rates import Rates
from ultraread.serving.setting_groups.limits import LimitsSettings


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_the_burst_and_the_rate_allow(pauses: list[float], per_s: float, burst: int) -> None:
    clock = _Clock()
    taken, bucket = 0, TokenBuckets(per_s, burst, clock)
    for pause in pauses:
        clock.now += pause
        taken += bucket.take("a") == 0
    assert taken <= burst + per_s * clock.now + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20))
def test_after_the_wait_that_is_told_there_is_one(per_s: float, burst: int) -> None:
    clock = _Clock()
    bucket = TokenBuckets(per_s, burst, clock)
    for _ in range(burst):
        assert bucket.take("a") == 0
    wait_s = bucket.take("a")
    assert bucket.take("b") == 0
    assert wait_s == bucket.wait_s("a") > 0
    clock.now += wait_s * 1.0001
    assert bucket.take("a") == 0


def test_a_flood_of_keys_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST_KEYS", 100)
    bucket = TokenBuckets(1, 1)
    for number in range(1000):
        bucket.take(str(number))
    assert len(bucket) == 100


def _rates(**stated: float) -> Rates:
    return Rates(LimitsSettings.model_validate({"stranger_rate_per_s": 0.01, "stranger_burst": 2} | stated))


def test_strangers_of_one_address_are_limited_together_and_others_are_not() -> None:
    rates = _rates()
    for _ in range(2):
        rates.refuse_stranger("192.0.2.1", "forged")
        rates.was_stranger("192.0.2.1")
    with pytest.raises(RateLimited) as refused:
        rates.refuse_stranger("192.0.2.1", "another")
    assert 0 < int(refused.value.headers["Retry-After"]) <= 100
    rates.refuse_stranger("192.0.2.2", "forged")


def test_a_subscriber_of_ipv6_has_one_bucket() -> None:
    rates = _rates()
    for host in ("1", "2"):
        rates.was_stranger(f"2001:db8::{host}")
    with pytest.raises(RateLimited):
        rates.refuse_stranger("2001:db8::3", "")
    rates.refuse_stranger("2001:db8:0:1::1", "")


def test_who_is_known_is_not_held_up_by_strangers_at_the_same_address() -> None:
    rates = _rates()
    rates.was_known("Bearer good")
    for _ in range(3):
        rates.was_stranger("192.0.2.1")
    rates.refuse_stranger("192.0.2.1", "Bearer good")
    rates.was_refused("Bearer good")
    with pytest.raises(RateLimited):
        rates.refuse_stranger("192.0.2.1", "Bearer good")


def test_a_principal_is_limited_and_others_are_not() -> None:
    rates = _rates(rate_per_s=0.1, rate_burst=3)
    for _ in range(3):
        rates.admit("main/anna")
    with pytest.raises(RateLimited):
        rates.admit("main/anna")
    rates.admit("main/bert")
