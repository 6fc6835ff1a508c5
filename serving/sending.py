"""Send slides to a running service and file them there, each whole, in the order in which they are named."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultraread.datasets.slide_address import SlideAddress, SlidePlace, address_of
from ultraread.datasets.stored_file import is_remote
from ultraread.errors import InputRefused, UrlNotAllowed
from ultraread.serving import cli_options as options
from ultraread.serving.client import Client, Filed


def send(
    client: Client, slides: Sequence[SlidePlace], record: dict[str, Any], tell: Callable[[Filed], None]
) -> None:
    """Upload and file each slide, and tell of it; nothing is sent unless all are there.

    Raises SlideNotFound, UrlNotAllowed, and the InputRefused that says why the service does not file one.
    """
    addresses = [_local(slide) for slide in slides]
    with options.progress_bars() as progress:
        task = progress.add_task("filing", total=sum(map(_bytes, addresses)))
        for number, address in enumerate(addresses, start=1):
            uploads = []
            for file in address.files:
                uploads.append(client.upload(Path(file.location), file_name=file.name))
                progress.advance(task, Path(file.location).stat().st_size)
            with _of_slide(number, len(slides)):
                tell(client.file_or_find(uploads, **record))


def _local(slide: SlidePlace) -> SlideAddress:
    """The files of a slide. Raises SlideNotFound, and UrlNotAllowed for those of an object store."""
    address = address_of(slide)
    if any(is_remote(file.location) for file in address.files):
        raise UrlNotAllowed(
            "a slide in an object store is not sent", "Read it there: ultraread read s3://..."
        )
    return address


def _bytes(address: SlideAddress) -> int:
    return sum(Path(file.location).stat().st_size for file in address.files)


@contextmanager
def _of_slide(number: int, slides: int) -> Iterator[None]:
    """Say which slide was refused, by its place: its name may identify somebody."""
    try:
        yield
    except InputRefused as refused:
        raise type(refused)(f"slide {number} of {slides}: {refused.what}", refused.remedy) from refused
