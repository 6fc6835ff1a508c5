import numpy as np
import pytest
import torch
from PIL import Image

from ultraread.datasets.corpora import fetch
from ultraread.training.config import TrainingConfig
from ultraread.training.predict import cut_tiles, join_tiles
from ultraread.training.tile_dataset import Section, load_section, normalise, soft_targets


@pytest.fixture(scope="module")
def section(tiny: TrainingConfig) -> Section:
    return load_section(tiny, 0)


def test_targets_hold_every_pixel_of_the_masks(section: Section) -> None:
    targets = soft_targets(section.masks, 16)
    assert targets.shape == (3, 64, 64)
    assert (targets.sum(dim=(1, 2)) * 16**2).tolist() == section.masks.sum(dim=(1, 2)).tolist()


def test_masks_agree_with_the_code_table_of_the_labels(section: Section) -> None:
    with Image.open(fetch("drosophila_vnc/stack1/labels/labels00000000.png")) as image:
        codes = np.array(image)
    mitochondria, synapse, membrane = section.masks.numpy().astype(bool)
    assert (mitochondria != (codes == 191)).mean() < 1e-3
    assert (synapse == (codes == 223)).all()
    assert membrane[(codes <= 128) | (codes == 159)].all()
    assert not membrane[codes == 255].any()


def test_normalising_gives_mean_0_and_deviation_1_whatever_the_bit_depth(section: Section) -> None:
    once = normalise(section.grey, clip=10)
    assert abs(float(once.mean())) < 1e-4
    assert float(once.std(correction=0)) == pytest.approx(1, abs=1e-4)
    sixteen_bit = section.grey.numpy().astype(np.uint16) * 257
    torch.testing.assert_close(normalise(sixteen_bit, clip=10), once)


def test_a_blank_image_normalises_to_zero() -> None:
    assert (normalise(np.full((1, 8, 8), 7, np.uint8), clip=4) == 0).all()


def test_tiles_put_together_are_the_image() -> None:
    image = torch.arange(2 * 96 * 64).reshape(2, 96, 64)
    tiles = cut_tiles(image, 32)
    assert tiles.shape == (6, 2, 32, 32)
    assert torch.equal(tiles[1], image[:, :32, 32:])
    assert torch.equal(join_tiles(tiles, columns=2), image)
