"""Who is told when a read of the site ends."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from ultraread.errors import WebhookNotTold
from ultraread.serving.api.bodies import Body, Page, Shown
from ultraread.serving.api.once import Once, response_of
from ultraread.serving.api.service import InService, Service
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.webhook_tables import WebhookRow
from ultraread.serving.webhooks import subscriptions
from ultraread.serving.webhooks.secret import webhook_key
from ultraread.serving.webhooks.sender import NotTold, guard_of, webhook_sender
from ultraread.serving.webhooks.subscriptions import Told

router = APIRouter(tags=["webhooks"])


class NewWebhook(Body):
    """An address that the operator has listed; `with_case`: the case's id is told, too."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    with_case: bool = False


class Webhook(Shown):
    """A subscription, and how many deliveries arrived, wait, or were given up."""

    id: str
    url: str
    with_case: bool
    who: str
    created: str
    sent: int
    pending: int
    given_up: int
    last_error: str | None


class NewlyMade(Webhook):
    """With the secret that deliveries are signed with, which is shown this once."""

    secret: str


class Again(Body):
    """What is to be sent again of what was given up: one webhook's, one read's, or all of the site."""

    webhook_id: str | None = None
    read_id: str | None = None


class SentAgain(Shown):
    """How many deliveries wait again."""

    again: int


class Tested(Shown):
    """The receiver took a signed message of type `test`."""

    delivery_id: str


@router.post("/v1/webhooks", status_code=201, response_model=NewlyMade)
def add_webhook(wanted: NewWebhook, service: InService, once: Once) -> JSONResponse:
    """Subscribe to the end of every read of the site. The secret is in this answer alone."""
    guard_of(service.settings, wanted.url).check(wanted.url)
    key = webhook_key(service.settings)

    def create(webhook_id: str) -> Answer:
        with service.store.writing() as session:
            row = subscriptions.add(session, webhook_id, wanted.url, wanted.with_case, service.who)
            body = _shown(row, subscriptions.told(session, row.id)).model_dump(mode="json")
        return Answer(201, f"/v1/webhooks/{webhook_id}", body)

    answer = once.answered(wanted, create)
    secret = {"secret": key.secret(answer.body["id"])}  # which no table keeps
    return response_of(replace(answer, body=answer.body | secret))


@router.get("/v1/webhooks")
def list_webhooks(service: InService) -> Page[Webhook]:
    """Subscriptions of the site, with how their deliveries went."""
    with service.store.reading() as session:
        rows = subscriptions.standing(session)
        items = [_shown(row, subscriptions.told(session, row.id)) for row in rows]
    return Page[Webhook](items=items, next_cursor=None)


@router.delete("/v1/webhooks/{webhook_id}", status_code=204, response_class=Response)
def remove_webhook(webhook_id: str, service: InService) -> None:
    """End a subscription; what it was not told yet, it is not told."""
    with service.store.writing() as session:
        subscriptions.remove(session, webhook_id, service.who)


@router.post("/v1/webhooks/retry")
def retry(wanted: Again, service: InService) -> SentAgain:
    """Send again what was given up: messages, and copies of results. Repeated, it finds nothing any more."""
    with service.store.writing() as session:
        again = subscriptions.retry(session, service.who, wanted.webhook_id, wanted.read_id)
    return SentAgain(again=again)


@router.post("/v1/webhooks/{webhook_id}/test")
def send_test(webhook_id: str, service: InService) -> Tested:
    """Send a signed message of type `test` now, once."""
    with service.store.reading() as session:
        row = subscriptions.find(session, webhook_id)
    return Tested(delivery_id=_tested(service, row))


def _tested(service: Service, row: WebhookRow) -> str:
    delivery_id = f"test-{new_id()}"
    try:
        webhook_sender(service.settings, service.store).test(row, delivery_id)
    except NotTold as failure:
        raise WebhookNotTold(f"the receiver did not take it: {failure}") from failure
    return delivery_id


def _shown(row: WebhookRow, told: Told) -> Webhook:
    columns = {name: getattr(row, name) for name in ("id", "url", "with_case", "who", "created")}
    outcome = {name: getattr(told, name) for name in ("sent", "pending", "given_up", "last_error")}
    return Webhook(**columns, **outcome)
