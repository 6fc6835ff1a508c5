"""One task that lasts as long as the application, to which the threads of anyio belong.

Ray Serve's event loop runs without one; there, anyio 4.16 looks through all tasks for it whenever something
is run in a thread: with a thousand open event streams that was most of what a request cost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio._backends import _asyncio


@asynccontextmanager
async def a_root_task() -> AsyncIterator[None]:
    """Name it to anyio, where anyio has no better one; its name for that is not public."""
    lasting = asyncio.ensure_future(asyncio.Event().wait())
    if (named := getattr(_asyncio, "_root_task", None)) is not None and named.get(None) is None:
        named.set(lasting)
    yield
    lasting.cancel()
    with suppress(asyncio.CancelledError):
        await lasting
