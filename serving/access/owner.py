"""The first token: written for the owner of the data folder, who is let in by the rights of files."""

import os

from sqlalchemy import select

from ultraread.serving.access.principal import Role
from ultraread.serving.access.tokens import NewToken, issue, revoke
from ultraread.serving.settings import Settings
from ultraread.serving.store.access_tables import TokenRow
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import MAIN_SITE

OWNER = "owner"
_BY = "service"
"""Who made it, in the audit trail."""


def write_owner_token(settings: Settings, store: Store) -> None:
    """Make the token with all roles at the main site, unless its file is there.

    Where only the file is gone, the former token is revoked: nobody knows who has it.
    """
    file = settings.owner_token_file
    with store.of_site(MAIN_SITE).writing() as session:
        if file.exists():
            return
        for former in session.scalars(select(TokenRow).where(TokenRow.name == OWNER)).all():
            revoke(session, former.id, _BY)
        token = issue(session, NewToken(OWNER, frozenset(Role)), _BY).token
        unfinished = file.with_name(f".{file.name}")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{token}\n")
            os.fsync(stream.fileno())
    unfinished.replace(file)
