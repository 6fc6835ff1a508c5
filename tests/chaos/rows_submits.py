"""Requests that come many times at once."""

from concurrent.futures import ThreadPoolExecutor

import httpx
from chaos.house import SCALE, House, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from chaos.worker import settings_of
from serving_api import asked, served
from sqlalchemy import func, select

from ultraread.serving.model_files import prove_here
from ultraread.serving.model_registry import open_registry, serve_models
from ultraread.serving.store.tables import ReadRow

AT_ONCE = 50
ACCEPTED = {httpx.codes.ACCEPTED, httpx.codes.CREATED, httpx.codes.OK}


@row("duplicates", "50 requests at once with one Idempotency-Key", small=2, night=100, a_slice=10)
def submitted_in_parallel(room: Room, count: int, seed: int) -> Verdict:
    """One read; every accepted request is told its id."""
    from ultraread.serving.api.app import create_api

    chance = seeded(seed)
    with room.house() as house:
        settings = settings_of(house.spec).model_copy(update={"models": (str(house.model.path),)})
        serve_models(settings, open_registry(settings, house.store), prove_here)
        house.start()
        verdict = Verdict()
        with served(create_api(settings)) as address:
            for number in range(count):
                slide = house.slides[chance.randrange(len(house.slides))]
                _submit(house, address, f"key-{seed}-{number}", slide, verdict)
        verdict.add(settled(room, house))
        with house.store.reading() as session:
            there = session.scalar(select(func.count()).select_from(ReadRow)) or 0
        if there != count:
            verdict.double("all", f"{there} reads for {count} keys")
        verdict.kills = count
        return verdict


def _submit(house: House, address: str, key: str, slide_id: str, verdict: Verdict) -> None:
    body = {"slide_ids": [slide_id], "scale": SCALE}
    with asked(address, timeout=60) as http, ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(
                lambda _: http.post("/v1/reads", json=body, headers={"Idempotency-Key": key}), range(AT_ONCE)
            )
        )
    ids = {answer.json()["id"] for answer in answers if answer.status_code in ACCEPTED}
    others = {
        answer.status_code
        for answer in answers
        if answer.status_code not in ACCEPTED | {httpx.codes.CONFLICT, httpx.codes.TOO_MANY_REQUESTS}
    }
    if others:
        verdict.notes.append(f"unexpected answers: {others}")
    if len(ids) != 1:
        verdict.double(key, f"{len(ids)} reads were told: {answers[0].text[:300]}")
    for read_id in ids:
        house.note(read_id)
