"""A reference finds one model: a name its newest version, name/version that one, a path that folder."""

from pathlib import Path

import pytest
from tiny_model import write_tiny_model

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide import Modality
from ultraread.errors import ModelCardInvalid, ModelUnknown
from ultraread.models.registry import DEFAULT_MODEL, find_model, list_models


@pytest.fixture
def three_models(tmp_path: Path) -> Path:
    """tiny 1.2.0 and 1.10.0, and other 1.0.0."""
    for name, version in (("tiny", "1.10.0"), ("tiny", "1.2.0"), ("other", "1.0.0")):
        write_tiny_model(tmp_path / name / version, name=name, version=version)
    return tmp_path


def test_models_are_listed_by_name_and_oldest_first(three_models: Path) -> None:
    found = [model.card.ref for model in list_models(three_models)]
    assert found == ["other/1.0.0", "tiny/1.2.0", "tiny/1.10.0"]


@pytest.mark.parametrize(
    ("ref", "found"), [("tiny", "tiny/1.10.0"), ("tiny/1.2.0", "tiny/1.2.0"), ("other", "other/1.0.0")]
)
def test_a_name_finds_the_newest_version_and_a_version_itself(
    ref: str, found: str, three_models: Path
) -> None:
    assert find_model(ref, three_models).card.ref == found


@pytest.mark.parametrize("ref", ["nobody", "tiny/9.9.9", "tiny@production", "/no/such/folder", "tin"])
def test_what_is_not_there_is_unknown(ref: str, three_models: Path) -> None:
    with pytest.raises(ModelUnknown) as refused:
        find_model(ref, three_models)
    assert "models ls" in refused.value.remedy


def test_the_path_of_a_model_folder_is_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    for ref in (str(folder), "mine", "./mine"):
        assert find_model(ref).path == folder


def test_a_folder_without_a_card_says_that_the_card_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelCardInvalid, match=r"no card\.json"):
        find_model(str(tmp_path))


def test_the_shipped_model_is_the_default_and_demands_what_its_card_says() -> None:
    model = find_model(DEFAULT_MODEL)
    assert sha256_of_file(model.onnx) == model.card.sha256
    assert model.card_sha256 == sha256_of_file(model.path / "card.json")
    assert model.demands.modality == Modality.TEM
    assert model.demands.nominal_nm_per_px == 4.6
    assert model.demands.tile_px == model.card.core_px


def test_a_folder_in_the_working_directory_never_stands_in_for_a_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path / DEFAULT_MODEL)
    monkeypatch.chdir(tmp_path)
    assert find_model(DEFAULT_MODEL).card.name == DEFAULT_MODEL
    for path in (f"./{DEFAULT_MODEL}", f"{DEFAULT_MODEL}/", str(tmp_path / DEFAULT_MODEL)):
        assert find_model(path).card.name == "tiny"
