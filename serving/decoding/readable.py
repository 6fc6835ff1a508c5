"""Which files a decoding process may read: those of Python, of packages, of the machine and of its slide."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder, all_suffixes
from os.path import commonpath, isfile, join

import ultraread
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.stored_file import is_remote
from ultraread.serving.decoding.landlock import open_only, version

OF_THE_MACHINE = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf",
    "/etc/localtime", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/sys/devices/system/cpu",
)  # fmt: skip
INSTALLED = ".dist-info"
"""Ends the name of what an installer leaves beside packages."""
SINGLE_FILES = 1000
"""Of a slide of more files, the folder that holds all of them."""
NO_MODULE = "ultraread_has_no_such_module"


def confine_to(files: Iterable[str]) -> None:
    """From now on only these files, and what Python needs, can be read, where the kernel has Landlock.

    Raises OSError.
    """
    PathFinder.find_spec(NO_MODULE)  # folders of modules are listed now; not all may be later
    open_only((*of_code(tuple(sys.path)), *files), version())


def of_slide(address: SlideAddress) -> tuple[str, ...]:
    """Its local files, or their folder; none of a slide in an object store."""
    files = tuple(file.location for file in address.files if not is_remote(file.location))
    return files if len(files) <= SINGLE_FILES else (commonpath(files),)


@cache
def of_code(path: tuple[str, ...]) -> tuple[str, ...]:
    """What can be imported from a path, and what that loads from the machine."""
    prefixes = {sys.prefix, sys.base_prefix}
    libraries = [join(prefix, name) for prefix in prefixes for name in ("lib", "lib64")]
    libraries += filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    below = tuple(join(folder, "") for folder in libraries)
    elsewhere = [entry or "." for entry in path if not entry.startswith(below)]
    modules = (each for entry in elsewhere for each in _importable(entry))
    return (*OF_THE_MACHINE, *libraries, *modules, *_own())


def _importable(entry: str) -> Iterator[str]:
    """A folder with what an installer left in it; of any other, such as a home folder, only the modules."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(entry)
    if isfile(entry) or any(name.endswith(INSTALLED) for name in names):
        yield entry
    else:
        yield from (join(entry, name) for name in names if _is_module(join(entry, name)))


def _is_module(place: str) -> bool:
    return place.endswith(tuple(all_suffixes())) or isfile(join(place, "__init__.py"))


def _own() -> Iterator[str]:
    """Folders of UltraRead; in a checkout, its rooms are links."""
    for folder in ultraread.__path__:
        yield folder
        yield from (each.path for each in os.scandir(folder) if each.is_symlink())
