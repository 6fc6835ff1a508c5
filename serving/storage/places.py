"""Addresses of places that keep copies: a folder's path, or `s3://bucket/prefix`."""

from pathlib import Path

from ultraread.datasets.stored_file import is_remote
from ultraread.errors import RequestInvalid
from ultraread.serving.storage.target import Folder, Target


def target_at(url: str) -> Target:
    """The place with this address: a path or `s3://bucket/prefix`. Raises UrlNotAllowed, RequestInvalid."""
    if not is_remote(url):
        return Folder(Path(url).expanduser().absolute())
    from ultraread.serving.storage.object_target import ObjectPrefix

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise RequestInvalid(f"{url} names no bucket", "Write s3://bucket or s3://bucket/prefix.")
    return ObjectPrefix(bucket, prefix.strip("/"))


def below(target: Target, name: str) -> Target:
    """The place `name` inside another one."""
    return target_at(f"{target.url.rstrip('/')}/{name}")


def refuse_same_place(first: str, second: str, what: str = "second_copy_url") -> None:
    """Raise RequestInvalid where one of the addresses lies in the other, UrlNotAllowed for a strange one."""
    ours, theirs = _normal(first), _normal(second)
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise RequestInvalid(
            f"{what} is where the first copies lie: what damages one damages the other",
            "Name another disk, another machine's folder, or a bucket.",
        )


def on_same_device(first: str, second: str) -> bool:
    """Whether two folders lie on one device, so that one broken disk takes both copies."""
    if is_remote(first) or is_remote(second):
        return False
    return _existing(Path(first)).stat().st_dev == _existing(Path(second)).stat().st_dev


def _normal(url: str) -> str:
    """With a slash at its end, so that one name is not taken for the beginning of another."""
    return f"{url if is_remote(url) else Path(url).expanduser().resolve()}".rstrip("/") + "/"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
