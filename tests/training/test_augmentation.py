import pytest
import torch
from torchvision import tv_tensors

from ultraread.training.augmentation import CropSampler, make_geometry, normalise_with_gamma
from ultraread.training.config import TrainingConfig
from ultraread.training.tile_dataset import Section, load_section, normalise, soft_targets


@pytest.fixture(scope="module")
def section(tiny: TrainingConfig) -> Section:
    return load_section(tiny, 0)


@pytest.mark.parametrize("seed", range(8))
def test_image_and_masks_move_together(tiny: TrainingConfig, section: Section, seed: int) -> None:
    """The image is made of the masks, so targets differ by resampling only."""
    torch.manual_seed(seed)
    image = tv_tensors.Image(section.masks[2:].float())
    crop, masks = make_geometry(tiny, 1024)(image, tv_tensors.Mask(section.masks))
    assert crop.shape == (1, 64, 64)
    assert masks.shape == (3, 64, 64)
    difference = (soft_targets(crop, 16)[0] - soft_targets(masks, 16)[2]).abs()
    assert difference.max() < 0.1
    assert difference.mean() < 0.03


def test_a_step_draws_the_same_crops_again(tiny: TrainingConfig, section: Section) -> None:
    sampler = CropSampler([section], tiny)
    crops, targets = sampler.batch(step=5)
    assert crops.shape == (2, 1, 64, 64)
    assert targets.shape == (2, 3, 4, 4)
    assert crops.abs().max() <= tiny.model.clip
    assert torch.equal(crops, sampler.batch(step=5)[0])
    assert not torch.equal(crops, sampler.batch(step=6)[0])


def test_gamma_is_followed_by_the_normalisation_of_the_whole_section(section: Section) -> None:
    histogram = torch.bincount(section.grey.flatten(), minlength=256)
    whole = section.grey.float() / 255
    torch.testing.assert_close(
        normalise_with_gamma(whole, histogram, 1.0).clamp(-4, 4), normalise(section.grey, 4)
    )
    brightened = normalise_with_gamma(whole, histogram, 0.7)
    assert abs(float(brightened.mean())) < 1e-4
    assert float(brightened.std(correction=0)) == pytest.approx(1, abs=1e-4)
