"""Addresses of files that a test wrote."""

from pathlib import Path

from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.serving.read_slide import PreparedSlide


def together(*paths: Path) -> SlideAddress:
    """These files as one slide, called like the first."""
    return SlideAddress(paths[0].name, tuple(FileAddress(path.name, str(path)) for path in paths))


def file_of(prepared: PreparedSlide) -> Path:
    """The first file of a prepared slide."""
    return Path(prepared.address.files[0].location)
