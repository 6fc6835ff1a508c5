"""Real fields, read once: some to lay artefacts over, some to be left as they are."""

import pytest

from ultraread.datasets.quality.evaluation.laid import Floats
from ultraread.datasets.quality.evaluation.trials import as_8_bit, field


@pytest.fixture(scope="session")
def vnc() -> Floats:
    return as_8_bit(*field("drosophila_vnc/stack1/raw/04.tif"))


@pytest.fixture(scope="session")
def nerve() -> Floats:
    """16 bits brought to 8."""
    return as_8_bit(*field("nerve_myelin/raw/HPF4-483S1-4B-6500x-3.tif"))
