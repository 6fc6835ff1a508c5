"""Over HTTP a negative is filed, and its read refused until the caller confirms that it is none."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from serving_api import FileSlide
from simulated import write_tiff

from ultraread.datasets.quality.evaluation.trials import as_8_bit, field


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    grey = as_8_bit(*field("drosophila_vnc/stack1/raw/04.tif"))
    return write_tiff(tmp_path / "negative.tif", (255 - grey).astype(np.uint8), 4.6)


def test_a_negative_is_filed_and_read_only_once_it_is_confirmed(
    http: httpx.Client, file_slide: FileSlide, negative: Path
) -> None:
    slide = file_slide(negative)["id"]
    refused = http.post("/v1/reads", json={"slide_ids": [slide]})
    assert (refused.status_code, refused.json()["code"]) == (422, "slide_contrast_inverted")
    assert http.get(f"/v1/slides/{slide}").status_code == 200
    assert http.get("/v1/reads").json()["items"] == []
    confirmed = {"slide_ids": [slide], "contrast_confirmed": "negative stain"}
    taken = http.post("/v1/reads", json=confirmed)
    assert taken.status_code == 202, taken.text
