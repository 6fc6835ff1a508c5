"""What the service does for its copies by itself, a step at a time."""

from collections.abc import Callable

from ultraread.serving.storage.copying import Copier
from ultraread.serving.storage.house import House, adopt
from ultraread.serving.storage.scrub import BACKGROUND_BYTES_PER_S, Scrubber, paced
from ultraread.serving.store import copies


def upkeep(house: House) -> list[Callable[[], bool]]:
    """The steps that are to be called for ever: each says whether it found something to do."""
    adopt(house)
    copies.put_back(house.store)
    hours, repair = house.settings.scrub_hours, house.settings.scrub_repair
    scrubber = Scrubber(house, repair=repair, pause=paced(BACKGROUND_BYTES_PER_S))
    steps = [Copier(house).copy_next]
    return [*steps, lambda: scrubber.scrub_next(hours)] if hours else steps
