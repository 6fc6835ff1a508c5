"""Find what identifies somebody: in tags, in names of files and folders, and burnt into pixels."""

from collections.abc import Sequence

from ultraread.datasets.burnt_in import Look
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.slide import SlideInfo


def find_identity(info: SlideInfo, names: Sequence[str], looks: Sequence[Look]) -> Identity:
    """Return every find under the default policy; `names` are those of files and folders, `looks` one an image.

    `dataclasses.replace` states another policy.
    """
    return Identity()
