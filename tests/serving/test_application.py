"""What the Serve applications of model versions are called."""

import pytest

from ultraread.serving.application import application_of, ref_of


@pytest.mark.parametrize("ref", ["tiny/1.0.0", "ultrastructure-vnc/10.2.0", "a-model/0.0.1"])
def test_the_name_of_an_application_tells_its_version(ref: str) -> None:
    assert ref_of(application_of(ref)) == ref
