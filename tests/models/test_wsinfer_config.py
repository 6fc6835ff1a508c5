"""A WSInfer configuration is read for what it says, and refused where it says what is not understood."""

import json
from pathlib import Path
from typing import Any

import pytest

from ultraread.errors import ModelConfigInvalid
from ultraread.models.wsinfer_config import WsinferConfig, load_wsinfer_config

NORMALIZE = {"name": "Normalize", "arguments": {"mean": [0.7, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}}
RESIZE = {"name": "Resize", "arguments": {"size": 224}}
TO_TENSOR = {"name": "ToTensor"}


def zoo_config(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A configuration as the zoo writes them; its numbers are made up."""
    return {
        "spec_version": "1.0",
        "architecture": "resnet34",
        "name": "made-up",
        "num_classes": 2,
        "class_names": ["Other", "Golgi stack"],
        "patch_size_pixels": 350,
        "spacing_um_px": 0.2525,
        "transform": [RESIZE, TO_TENSOR, NORMALIZE],
        **changes,
    }


def _loaded(folder: Path, **changes: Any) -> WsinferConfig:  # noqa: ANN401
    file = folder / "config.json"
    file.write_text(json.dumps(zoo_config(**changes)))
    return load_wsinfer_config(file)


def test_spacing_patch_size_and_statistics_are_taken(tmp_path: Path) -> None:
    config = _loaded(tmp_path, halo_size_pixels=0)
    assert (config.nm_per_px, config.patch_size_pixels, config.network_px) == (252.5, 350, 224)
    assert config.statistics == ((0.7, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert config.class_names == ("Other", "Golgi stack")


def test_without_resize_and_normalize_the_patch_reaches_the_network_as_it_is(tmp_path: Path) -> None:
    config = _loaded(tmp_path, transform=[{**TO_TENSOR, "arguments": None}])
    assert config.network_px == 350
    assert config.statistics == ((), ())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a transform of another kind": ({"transform": [TO_TENSOR, {"name": "CenterCrop"}]}, "transform"),
    "no ToTensor": ({"transform": [RESIZE, NORMALIZE]}, "ToTensor"),
    "another order": ({"transform": [TO_TENSOR, RESIZE]}, "in this order"),
    "one transform twice": ({"transform": [RESIZE, RESIZE, TO_TENSOR]}, "in this order"),
    "a name too few": ({"class_names": ["Other"]}, "1 names for 2 classes"),
    "no spacing": ({"spacing_um_px": 0}, "spacing_um_px"),
    "a standard deviation of zero": (
        {"transform": [TO_TENSOR, {"name": "Normalize", "arguments": {"mean": [0.5], "std": [0]}}]},
        "std",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_understood_is_refused(what: str, tmp_path: Path) -> None:
    changes, told = REFUSED[what]
    with pytest.raises(ModelConfigInvalid, match=told) as refused:
        _loaded(tmp_path, **changes)
    assert refused.value.code == "model_config_invalid"
    assert "models init --help" in refused.value.remedy


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_is_no_configuration_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelConfigInvalid):
        load_wsinfer_config(tmp_path / "config.json")
    with pytest.raises(ModelConfigInvalid, match="cannot be read"):
        load_wsinfer_config(tmp_path / "none.json")
