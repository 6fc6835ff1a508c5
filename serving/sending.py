"""Send slides to a running service and file them there, each whole, in the order in which they are named."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ultraread.datasets.slide_address import FileAddress, RemotePlace, SlideAddress, SlidePlace, address_of
from ultraread.datasets.slide_digest import FileDigest, SlideDigest, digest_slide
from ultraread.errors import InputRefused, Interrupted, NotFound
from ultraread.serving import cli_options as options
from ultraread.serving.client import Client, Filed
from ultraread.serving.send_file import CONNECTIONS, GO_ON, BytesSent, at_once, send_file

Moved = Callable[[int], None]
"""Called with the bytes that are on the other side now, and were not before."""


def send(
    client: Client, slides: Sequence[SlidePlace], record: dict[str, Any], tell: Callable[[Filed], None]
) -> None:
    """Upload and file each slide, and tell of it; nothing is sent unless all of this machine are there.

    Of slides of a case that have the same bytes, the first is sent; those in an object store the service
    fetches. Raises SlideNotFound, UrlNotAllowed, and the InputRefused that says why one is not filed.
    """
    found = [slide if isinstance(slide, RemotePlace) else address_of(slide) for slide in slides]
    try:
        _send(client, found, record, tell)
    except KeyboardInterrupt:
        raise Interrupted("stopped; what was sent is kept", GO_ON) from None


def _send(
    client: Client,
    slides: Sequence[SlideAddress | RemotePlace],
    record: dict[str, Any],
    tell: Callable[[Filed], None],
) -> None:
    sent: dict[str, tuple[int, Filed]] = {}
    with options.progress_bars() as progress:
        here = [slide for slide in slides if isinstance(slide, SlideAddress)]
        task = progress.add_task("filing", total=sum(map(_bytes, here)))
        for number, slide in enumerate(slides, start=1):
            with _of_slide(number, len(slides)):
                if isinstance(slide, RemotePlace):
                    filed = client.file_from(slide.address, **record)
                else:
                    filed = _filed_once(client, number, slide, record, partial(progress.advance, task), sent)
            tell(filed)


def _filed_once(
    client: Client,
    number: int,
    slide: SlideAddress,
    record: dict[str, Any],
    moved: Moved,
    sent: dict[str, tuple[int, Filed]],
) -> Filed:
    """The first of a case with these bytes is sent, and noted in `sent`."""
    digest = digest_slide(slide)
    if record.get("case_id") is not None and digest.sha256 in sent:
        first, filed = sent[digest.sha256]
        moved(_bytes(slide))
        return Filed(filed.slide, is_new=False, same_as=first)
    filed = _filed(client, slide, digest, record, moved)
    sent[digest.sha256] = number, filed
    return filed


def upload_slide(
    client: Client, files: Sequence[FileAddress], digests: Sequence[FileDigest], moved: Moved
) -> list[str]:
    """Send the files of a slide, several at once; return the uploads' ids in the order of the files."""
    connections, stop = max(1, CONNECTIONS // len(files)), threading.Event()

    def upload(file: FileAddress, digest: FileDigest) -> str:
        with Path(file.location).open("rb") as stream:
            told = _since(moved)
            return send_file(
                client, stream, file.name, told, sha256=digest.sha256, connections=connections, stop=stop
            )

    pairs = zip(files, digests, strict=True)
    return at_once([partial(upload, file, digest) for file, digest in pairs], CONNECTIONS, stop)


def _filed(
    client: Client, address: SlideAddress, digest: SlideDigest, record: dict[str, Any], moved: Moved
) -> Filed:
    """Once more from the start where another sender of the same file has filed the upload meanwhile."""
    try:
        return client.file_or_find(upload_slide(client, address.files, digest.files, moved), **record)
    except NotFound:
        uploads = upload_slide(client, address.files, digest.files, lambda count: None)
        return client.file_or_find(uploads, **record)


def _since(moved: Moved) -> BytesSent:
    """Tells how much more it is than at the last call."""
    last = [0]

    def told(sent: int, _size: int) -> None:
        moved(sent - last[0])
        last[0] = sent

    return told


def _bytes(address: SlideAddress) -> int:
    return sum(Path(file.location).stat().st_size for file in address.files)


@contextmanager
def _of_slide(number: int, slides: int) -> Iterator[None]:
    """Say which slide was refused, by its place: its name may identify somebody."""
    try:
        yield
    except InputRefused as refused:
        raise type(refused)(f"slide {number} of {slides}: {refused.what}", refused.remedy) from refused
