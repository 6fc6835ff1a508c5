"""Any byte that flips in a result folder is found by `verify`, which knows nothing but the folder."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from working_house import working_house

from ultraread.errors import IntegrityFailed
from ultraread.serving.verify import verify

FEW, MANY = 20, 500


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of one slide's result."""
    with working_house(tmp_path_factory.mktemp("house")) as working:
        slide = working.file()
        read_id = working.read(slide)
        yield working.house.settings.result_dir(read_id, 1) / slide


def flipped(folder: Path, seed: int) -> str:
    """Flip a byte by seed, in every kind of file alike; return the file's name."""
    chance = random.Random(seed)  # noqa: S311  # nothing secret
    file = chance.choice(sorted(path for path in folder.iterdir() if path.stat().st_size))
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    file.write_bytes(data)
    return file.name


def assert_found(result: Path, folder: Path, seed: int) -> None:
    shutil.copytree(result, folder)
    name = flipped(folder, seed)
    with pytest.raises(IntegrityFailed, match=name.replace(".", r"\.")):
        verify(folder)


def test_a_result_as_written_is_confirmed(result: Path) -> None:
    assert len(verify(result)) == 2


@pytest.mark.parametrize("seed", range(FEW))
def test_a_flipped_byte_of_a_result_is_found(result: Path, tmp_path: Path, seed: int) -> None:
    assert_found(result, tmp_path / "copy", seed)


@pytest.mark.parametrize("name", ["findings.json", "provenance.json"])
def test_another_blank_in_a_json_is_found(result: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(result, tmp_path / "copy")
    file = tmp_path / "copy" / name
    file.write_bytes(file.read_bytes().replace(b":", b": ", 1))
    with pytest.raises(IntegrityFailed):
        verify(tmp_path / "copy")


@pytest.mark.full
def test_hundreds_of_flipped_bytes_of_a_result_are_found(result: Path, tmp_path: Path) -> None:
    for seed in range(FEW, MANY):
        assert_found(result, tmp_path / str(seed), seed)
