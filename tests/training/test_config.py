from collections.abc import Callable
from pathlib import Path

import pytest

from ultraread.errors import RequestInvalid
from ultraread.training.config import load_config


@pytest.fixture
def change(committed_recipe: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """Returns a copy of the committed recipe with one text exchanged."""

    def changed(old: str, new: str) -> Path:
        text = committed_recipe.read_text()
        assert old in text
        file = tmp_path / "changed.toml"
        file.write_text(text.replace(old, new))
        return file

    return changed


def test_the_committed_recipe_names_three_classes(committed_recipe: Path) -> None:
    assert [one.code for one in load_config(committed_recipe).classes] == ["UR-MITO", "UR-SYN", "UR-MEM"]


def test_a_scale_range_that_no_crop_ever_showed_is_refused(
    change: Callable[[str, str], Path],
) -> None:
    with pytest.raises(RequestInvalid, match="wider than augmentation"):
        load_config(change("max = 6.5", "max = 9.0"))


@pytest.mark.parametrize(
    ("old", "new"), [("crop_px = 192", "crop_px = 200"), ("steps = ", "stepz = "), ("[model]", "[model")]
)
def test_a_recipe_with_a_mistake_is_refused_by_name(
    change: Callable[[str, str], Path], old: str, new: str
) -> None:
    with pytest.raises(RequestInvalid, match=r"changed\.toml"):
        load_config(change(old, new))


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="no recipe"):
        load_config(tmp_path / "none.toml")
