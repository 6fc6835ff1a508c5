"""`ultraread webhooks`: who is told when a read ends."""

import json
from typing import Annotated

import typer

from ultraread.errors import RequestInvalid
from ultraread.serving import cli_options as options
from ultraread.serving.cli_client import LOCAL_URL, Url

app = typer.Typer(no_args_is_help=True, help="Tell other systems when a read ends.")

WebhookId = Annotated[str, typer.Argument(help="The webhook's id, as `ls` prints it.")]


@app.command()
def add(
    address: Annotated[
        str,
        typer.Argument(
            help="https address of a host in setting webhook_hosts, or http of one in webhook_http_hosts."
        ),
    ],
    with_case: Annotated[bool, typer.Option("--with-case", help="Tell the id of the case, too.")] = False,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Subscribe; prints the secret that deliveries are signed with, this once.

    Example: ultraread webhooks add https://lis.example/ultraread --with-case
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        made = client.add_webhook(address, with_case=with_case)
    told = f"{made['id']}\nSecret, shown this once: {made['secret']}"
    typer.echo(json.dumps(made) if as_json else told)


@app.command("ls")
def show(url: Url = LOCAL_URL, token_file: options.TokenFile = None, as_json: options.AsJson = False) -> None:
    """List subscriptions, and how their deliveries went.

    Example: ultraread webhooks ls --json
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        found = client.webhooks()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        counts = f"{one['sent']} sent, {one['pending']} waiting, {one['given_up']} given up"
        error = f" (last error: {one['last_error']})" if one["last_error"] else ""
        typer.echo(f"{one['id']}  {one['url']}  {counts}{error}")
    if not found:
        typer.echo("No webhooks.", err=True)


@app.command("rm")
def remove(
    webhook_id: WebhookId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """End a subscription.

    Example: ultraread webhooks rm 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        client.remove_webhook(webhook_id)
    typer.echo(json.dumps({"removed": webhook_id}) if as_json else f"removed {webhook_id}")


@app.command("test")
def send_test(
    webhook_id: WebhookId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Send a signed message of type `test` now.

    Example: ultraread webhooks test 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        told = client.test_webhook(webhook_id)
    typer.echo(json.dumps(told) if as_json else f"taken: {told['delivery_id']}")


@app.command()
def retry(
    webhook_id: Annotated[str | None, typer.Argument(help="Of this webhook alone.")] = None,
    read_id: Annotated[str | None, typer.Option("--read", help="Of this read alone.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All of the site, copies of results too.")
    ] = False,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Send again what was given up, once the receiver is well.

    Example: ultraread webhooks retry 01J8Z...
    """
    from ultraread.serving.client import Client

    if everything == bool(webhook_id or read_id):
        raise RequestInvalid("what is to be sent again is not clear", "Name a webhook, --read or --all.")
    with Client(url, token_file=token_file) as client:
        again = client.retry_webhooks(webhook_id, read_id)
    typer.echo(json.dumps({"again": again}) if as_json else f"{again} are sent again")
