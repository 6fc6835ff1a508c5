"""A recipe is read whole, or refused by the line that is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_tissue import write_recipe

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import RequestInvalid
from ultraread.training.config import config_sha256, load_config

RECIPES = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.toml"))
Change = Callable[[str, str], Path]


@pytest.fixture
def change(committed_recipe: Path, tmp_path: Path) -> Change:
    """Returns a copy of the committed recipe with one text exchanged."""

    def changed(old: str, new: str) -> Path:
        text = committed_recipe.read_text()
        assert old in text
        file = tmp_path / "changed.toml"
        file.write_text(text.replace(old, new, 1))
        return file

    return changed


def test_the_committed_recipe_names_three_classes(committed_recipe: Path) -> None:
    assert load_config(committed_recipe).codes == ("UR-MITO", "UR-SYN", "UR-MEM")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_every_committed_recipe_names_manifests_that_are_there(recipe: Path) -> None:
    config = load_config(recipe)
    named = [*(one.manifest for one in config.data), *config.judged, *config.out_of_domain.judged]
    assert named
    assert [path for path in named if not (path.is_absolute() and path.is_file())] == []


def test_paths_are_taken_from_the_recipe_s_own_folder(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path / "recipes" / "mine.toml",
        Path("../data/mine.csv"),
        judged=(Path("theirs.csv"),),
        strange=(Path("/elsewhere/strange.csv"),),
    )
    config = load_config(recipe)
    assert config.data[0].manifest == tmp_path / "data" / "mine.csv"
    assert config.judged == (tmp_path / "recipes" / "theirs.csv",)
    assert config.out_of_domain.judged == (Path("/elsewhere/strange.csv"),)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("steps = ", "stepz = ", "optimisation"),
        ("[card]\n", "[card]\nmood = 1\n", "card.mood"),
        ("seed = ", "seed = 'one' #", "optimisation.seed"),
        ("[[data]]\nmanifest", "[[datum]]\nmanifest", "data"),
        ("crop_px = 192", "crop_px = 200", "200 px"),
        ("patch_px = 16", "patch_px = 32", "stride of the network"),
        ("margin_px = 16", "margin_px = 8", "margin_px"),
        ("margin_px = 16", "margin_px = 128", "margin_px"),
        ("noise = 0.4", "noise = 0.4\nnoise = 0.5", "changed"),
        ("[model]", "[model", "changed"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_by_file_and_place(
    change: Change, old: str, new: str, where: str
) -> None:
    with pytest.raises(RequestInvalid, match=r"changed\.toml") as refused:
        load_config(change(old, new))
    assert where in refused.value.what


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "changed.toml").write_bytes(b"name = '\xe4'")
    with pytest.raises(RequestInvalid, match=r"changed\.toml"):
        load_config(tmp_path / "changed.toml")


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="no recipe"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("max = 6.9", "max = 9.0", r"coarser than the 6\.9 "),
        ("min = 3.3", "min = 5.0", "outside of its range"),
    ],
)
def test_a_scale_range_that_no_crop_ever_shows_is_refused(
    change: Change, old: str, new: str, why: str
) -> None:
    with pytest.raises(RequestInvalid, match=why):
        load_config(change(old, new))


def test_only_the_packaged_backbone_has_weights(change: Change) -> None:
    with pytest.raises(RequestInvalid, match="only efficientnet_lite0 has weights here"):
        load_config(change('"efficientnet_lite0"', '"resnet18"'))
    fresh = load_config(change('"efficientnet_lite0"', '"resnet18"\npretrained = false'))
    assert (fresh.model.backbone, fresh.model.pretrained) == ("resnet18", False)


def test_a_recipe_is_named_by_its_bytes(change: Change, committed_recipe: Path) -> None:
    assert config_sha256(committed_recipe) == sha256_of_file(committed_recipe)
    assert config_sha256(change("# standard", "# Standard")) != config_sha256(committed_recipe)
