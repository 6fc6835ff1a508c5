"""Who a slide gives away, where that was found, and what is to become of it. Values never leave with it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ultraread.datasets.geometry import BoxPx


class IdentityPolicy(StrEnum):
    """What is done about a slide that identifies somebody."""

    REFUSE = "refuse"
    """It is not taken."""
    STRIP = "strip"
    """It is held in the sealed original, and removed or masked in everything derived."""
    KEEP = "keep"
    """Names stay in provenance and folder names, for a stated reason; pixels stay as they are."""


class IdentityKind(StrEnum):
    """What was found, by the identifiers of 45 CFR 164.514(b)(2) that a slide can carry."""

    NAME = "name"
    DATE = "date"
    OPERATOR = "operator"
    NUMBER = "number"
    """Accession, record, specimen or account number."""
    DEVICE = "device"
    """Serial number or name of an instrument or a computer."""
    INSTITUTION = "institution"
    ADDRESS = "address"
    """Postal or e-mail address, telephone number, URL, path."""
    UID = "uid"
    TEXT = "text"
    """Text that is not known to be technical."""


FILE_NAME, FOLDER_NAME, PIXELS = "file name", "folder name", "pixels"
NAMES = (FILE_NAME, FOLDER_NAME)


@dataclass(frozen=True, slots=True)
class IdentityItem:
    """One find. `where` is safe to print; `value` is not, and is no part of what is printed or stored.

    `image` and `box` (level-0 px, to be painted over) are those of text burnt into pixels.
    """

    where: str
    kind: IdentityKind
    image: int | None = None
    box: BoxPx | None = None
    value: str = field(default="", repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        box = asdict(self.box) if self.box else None
        return {"where": self.where, "kind": self.kind.value, "image": self.image, "box": box}


@dataclass(frozen=True, slots=True)
class Identity:
    """All finds of a slide, and the policy that holds for them; `reason` says why they are kept."""

    found: tuple[IdentityItem, ...] = ()
    policy: IdentityPolicy = IdentityPolicy.STRIP
    reason: str = ""
    not_searched: tuple[int, ...] = ()
    """Images whose pixels are too large to be looked at."""

    def masks(self, image: int) -> tuple[BoxPx, ...]:
        """Level-0 boxes of an image to paint over in every derived picture; none under `keep`."""
        if self.policy == IdentityPolicy.KEEP:
            return ()
        return tuple(item.box for item in self.found if item.image == image and item.box is not None)

    @property
    def keeps_names(self) -> bool:
        return self.policy == IdentityPolicy.KEEP

    @property
    def is_in_names(self) -> bool:
        """Whether a name of a file or folder gives somebody away."""
        return any(item.where in NAMES for item in self.found)

    @property
    def places(self) -> tuple[str, ...]:
        """Where something was found or could not be sought, each place once, in order."""
        unseen = [f"{PIXELS} of image {image}, not searched" for image in self.not_searched]
        return tuple(dict.fromkeys([*(item.where for item in self.found), *unseen]))

    def as_json(self) -> dict[str, Any]:
        found = [item.as_json() for item in self.found]
        told = {"policy": self.policy.value, "reason": self.reason, "found": found}
        return told | {"not_searched": list(self.not_searched)}

    @classmethod
    def from_json(cls, told: dict[str, Any] | None) -> "Identity":
        """What `as_json` told; of None, as of slides filed before, that nothing is known: names are held."""
        if told is None:
            return cls()
        unseen = tuple(told.get("not_searched", ()))
        return cls(_items(told["found"]), IdentityPolicy(told["policy"]), told["reason"], unseen)


NOTHING_FOUND = Identity()


def _items(told: Iterable[dict[str, Any]]) -> tuple[IdentityItem, ...]:
    return tuple(
        IdentityItem(
            each["where"],
            IdentityKind(each["kind"]),
            each["image"],
            BoxPx(**each["box"]) if each["box"] else None,
        )
        for each in told
    )
