"""Places: so many are answered at once, so many wait, more are turned away; nothing leaks."""

import asyncio

import pytest

from ultraread.errors import ServiceBusy, StreamLimit
from ultraread.serving.limits.places import Places
from ultraread.serving.limits.streams import StreamPlaces


def test_more_than_may_wait_are_turned_away_at_once() -> None:
    async def run() -> None:
        places = Places(places=2, waiting=3, wait_s=5)
        inside = [await places.take() for _ in range(2)]
        waiting = [asyncio.ensure_future(places.take()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ServiceBusy) as refused:
            await places.take()
        assert refused.value.headers["Retry-After"]
        for place in inside:
            place.leave()
            place.leave()
        for place in await asyncio.gather(*waiting[:2]):
            place.leave()
        (await waiting[2]).leave()
        assert (places.taken, places.waiting) == (0, 0)
        assert not (await places.take()).leave()

    asyncio.run(run())


def test_who_waits_too_long_is_turned_away_and_leaves_nothing() -> None:
    async def run() -> None:
        places = Places(places=1, waiting=5, wait_s=0.02)
        with await places.take():
            with pytest.raises(ServiceBusy):
                await places.take()
            gone = asyncio.ensure_future(places.take())
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait({gone})
        assert (places.taken, places.waiting) == (0, 0)
        with await places.take():
            assert places.taken == 1

    asyncio.run(run())


def test_event_streams_are_counted_in_all_and_each() -> None:
    places = StreamPlaces(most=3, most_each=2)
    held = [places.take("anna"), places.take("anna")]
    with pytest.raises(StreamLimit):
        places.take("anna")
    with places.take("bert"), pytest.raises(ServiceBusy):
        places.take("carl")
    for place in held:
        place.__exit__()
    assert places.taken == 0
    with places.take("anna"):
        assert places.taken == 1
