"""Crops look like another laboratory's, and stay what they are: masks go along, dark stays dark."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from ultraread.training import augmentation
from ultraread.training.augmentation import (
    LEVELS,
    CropSampler,
    defocused,
    make_geometry,
    make_plain_geometry,
    matching_curve,
    random_curve,
    through_curve,
    uneven_illumination,
)
from ultraread.training.config import TrainingConfig, changed
from ultraread.training.fields import Field, normalise, soft_targets

seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def sampler(tiny: TrainingConfig, fields: list[Field]) -> CropSampler:
    return CropSampler(fields, [1.0] * len(fields), tiny)


def only(kind: str, config: TrainingConfig, **shown: object) -> TrainingConfig:
    """The recipe with plain crops only, or with changed ones only."""
    table = changed(config.augmentation, plain_probability=float(kind == "plain"), **shown)
    return changed(config, augmentation=table)


def made_of_its_mask(field: Field) -> Field:
    """A field whose picture is its last mask."""
    return replace(field, grey=field.masks[2:].float())


def histogram_of(field: Field) -> Tensor:
    return torch.histc(field.grey, LEVELS, min=0, max=1).double() / field.grey.numel()


def test_a_step_draws_what_its_number_and_the_seed_say_and_nothing_else(
    tiny: TrainingConfig, fields: list[Field], sampler: CropSampler
) -> None:
    fifth = sampler.batch(step=5)
    assert fifth.images.shape == (2, 1, 64, 64)
    assert fifth.targets.shape == (2, 3, 4, 4)
    torch.rand(7)
    assert torch.equal(sampler.batch(step=5).images, fifth.images)
    assert not torch.equal(sampler.batch(step=6).images, fifth.images)
    reseeded = changed(tiny, optimisation=changed(tiny.optimisation, seed=1))
    other = CropSampler(fields, [1.0] * len(fields), reseeded)
    assert not torch.equal(other.batch(step=5).images, fifth.images)


def test_fields_are_drawn_as_often_as_their_weights_say(tiny: TrainingConfig, fields: list[Field]) -> None:
    often = changed(tiny, optimisation=changed(tiny.optimisation, batch=200, crop_px=32))
    names = CropSampler(fields[:3], [3.0, 1.0, 0.0], often).batch(0).names
    assert names.count(fields[0].name) == pytest.approx(150, abs=25)
    assert fields[2].name not in names


def test_crops_are_clipped_as_the_card_says(tiny: TrainingConfig, fields: list[Field]) -> None:
    tight = changed(tiny, model=changed(tiny.model, clip=0.5))
    sampler = CropSampler(fields, [1.0] * len(fields), tight)
    assert max(float(sampler.batch(step).images.abs().max()) for step in range(8)) == 0.5


@pytest.mark.parametrize("seed", range(8))
def test_plain_geometry_moves_image_and_masks_together_to_the_pixel(
    tiny: TrainingConfig, fields: list[Field], seed: int
) -> None:
    field = made_of_its_mask(fields[0])
    geometry = make_plain_geometry(tiny, field)
    assert geometry is not None
    torch.manual_seed(seed)
    crop, masks = geometry(tv_tensors.Image(field.grey), tv_tensors.Mask(field.masks))
    assert crop.shape == (1, 64, 64)
    assert torch.equal(crop[0] > 0.5, masks[2].bool())


@pytest.mark.parametrize("seed", range(8))
def test_scaled_geometry_moves_image_and_masks_together_but_for_resampling(
    tiny: TrainingConfig, fields: list[Field], seed: int
) -> None:
    field = made_of_its_mask(fields[0])
    torch.manual_seed(seed)
    crop, masks = make_geometry(tiny, field)(tv_tensors.Image(field.grey), tv_tensors.Mask(field.masks))
    assert masks.shape == (3, 64, 64)
    difference = (soft_targets(crop, 16)[0] - soft_targets(masks, 16)[2]).abs()
    assert difference.max() < 0.1
    assert difference.mean() < 0.05


def test_all_eight_turns_are_drawn(tiny: TrainingConfig, fields: list[Field]) -> None:
    """A field as large as the crop comes whole, so turns are all that differs."""
    arrow = torch.arange(64 * 64).reshape(1, 64, 64) / 64**2
    field = replace(fields[0], grey=arrow, masks=fields[0].masks[:, :64, :64])
    geometry = make_plain_geometry(tiny, field)
    assert geometry is not None
    torch.manual_seed(0)
    drawn = {geometry(tv_tensors.Image(arrow)).numpy().tobytes() for _ in range(100)}
    wanted = [turned.rot90(times, (1, 2)) for turned in (arrow, arrow.mT) for times in range(4)]
    assert drawn == {one.contiguous().numpy().tobytes() for one in wanted}


def test_plain_crops_are_pixels_of_the_normalised_field(tiny: TrainingConfig, fields: list[Field]) -> None:
    """Every one is a window of the field in one of its eight turns."""
    field = replace(fields[0], grey=fields[0].grey[:, :96, :80], masks=fields[0].masks[:, :96, :80])
    sampler = CropSampler([field], [1.0], only("plain", tiny))
    whole = normalise(field.grey, tiny.model.clip)[0]
    turns = [turned.rot90(times) for turned in (whole, whole.T) for times in range(4)]
    for crop in sampler.batch(step=3).images[:, 0]:
        differences = [(windows(turned) - crop).abs().amax(dim=(2, 3)).min() for turned in turns]
        assert min(differences) < 0.02, "standard deviations: histograms have 1,024 levels"


def windows(image: Tensor) -> Tensor:
    return image.unfold(0, 64, 1).unfold(1, 64, 1)


def test_the_straight_line_is_the_normalisation_of_the_whole_field(fields: list[Field]) -> None:
    straight = through_curve(fields[0].grey, histogram_of(fields[0]), torch.linspace(0, 1, LEVELS))
    torch.testing.assert_close(straight, normalise(fields[0].grey, 100), atol=0.01, rtol=0.005)


def test_another_curve_is_followed_by_the_normalisation_of_the_whole_field(fields: list[Field]) -> None:
    curved = through_curve(fields[0].grey, histogram_of(fields[0]), torch.linspace(0, 1, LEVELS) ** 0.7)
    assert abs(float(curved.mean())) < 0.01
    assert float(curved.std(correction=0)) == pytest.approx(1, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_random_curves_rise_from_0_to_1_and_are_nowhere_flat(seed: int) -> None:
    torch.manual_seed(seed)
    curve = random_curve()
    assert (float(curve[0]), float(curve[-1])) == (0, 1)
    assert (curve.diff() > 0).all()


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_matching_curves_never_fall(seed: int) -> None:
    torch.manual_seed(seed)
    one, other = (torch.rand(LEVELS, dtype=torch.float64) ** 8 for _ in range(2))
    curve = matching_curve(one / one.sum(), other / other.sum())
    assert (curve.diff() >= 0).all()
    assert 0 <= float(curve.min()) <= float(curve.max()) <= 1


def test_a_matching_curve_gives_one_field_the_grey_values_of_another(fields: list[Field]) -> None:
    """Deciles of a gamma-changed twin are found again."""
    twin = replace(fields[0], grey=fields[0].grey ** 2)
    curve = matching_curve(histogram_of(fields[0]), histogram_of(twin))
    matched = curve[(fields[0].grey * (LEVELS - 1)).round().long()]
    deciles = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(
        matched.flatten().quantile(deciles), twin.grey.flatten().quantile(deciles), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("radius_px", [1.0, 1.7, 4.0])
def test_defocus_spreads_a_point_over_a_disc_and_keeps_the_mean(radius_px: float) -> None:
    point = torch.zeros(1, 33, 33)
    point[0, 16, 16] = 1
    spread = defocused(point, radius_px)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert float(spread.max()) < 0.5
    rows, columns = torch.nonzero(spread[0], as_tuple=True)
    assert ((rows - 16.0) ** 2 + (columns - 16.0) ** 2).sqrt().max() <= radius_px + 0.5


def test_uneven_illumination_is_smooth_and_no_stronger_than_said() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([uneven_illumination(64, strength=0.5) for _ in range(50)])
    assert drawn.shape == (50, 64, 64)
    assert 0.2 < float(drawn.abs().max()) < 0.65, "bicubic interpolation overshoots a little"
    assert float(drawn.diff(dim=2).abs().max()) < 0.06


def test_no_augmentation_inverts_contrast(
    tiny: TrainingConfig, fields: list[Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without shading and noise, what was dark stays dark: crops correlate with their own pixels."""
    sources: list[Tensor] = []
    curves = {"curve_probability": 0.5, "histogram_match_probability": 0.3, "gamma_max": 4.0}
    harsh = only("changed", tiny, noise=0.0, illumination=0.0, **curves)
    sampler = CropSampler(fields, [1.0] * len(fields), harsh)
    optics = augmentation._out_of_focus
    monkeypatch.setattr(
        augmentation, "_out_of_focus", lambda image, shown: optics(sources.append(image) or image, shown)
    )
    crops = torch.cat([sampler.batch(step).images for step in range(100)])
    assert len(sources) == len(crops) == 200
    correlations = [
        float(torch.corrcoef(torch.stack([crop.flatten(), source.flatten()]))[0, 1])
        for crop, source in zip(crops, sources, strict=True)
    ]
    assert min(correlations) > 0.1
    assert min(correlations) < 0.99, "the crops were changed"


def test_a_field_that_is_told_as_a_whole_is_shown_whole(tiny: TrainingConfig, fields: list[Field]) -> None:
    """Its corners, each of a grey of its own, stay corners, though it is oblong and has a mask too."""
    grey = torch.full((1, 128, 256), 0.5)
    marks = torch.tensor([[0.0, 0.2], [0.8, 1.0]])
    grey[0, :32, :32], grey[0, :32, -32:], grey[0, -32:, :32], grey[0, -32:, -32:] = marks.flatten()
    values = torch.tensor([float("nan"), float("nan"), 0.25])
    field = replace(fields[0], grey=grey, masks=fields[0].masks[:, :128], tile_values=values)
    assert make_plain_geometry(tiny, field) is None
    geometry = make_geometry(tiny, field)
    for seed in range(8):
        torch.manual_seed(seed)
        crop = geometry(tv_tensors.Image(grey))[0]
        corners = [float(crop[y, x]) for y in (2, -3) for x in (2, -3)]
        assert sorted(corners) == pytest.approx(sorted(marks.flatten().tolist()), abs=0.02)


def test_what_is_known_and_stated_of_a_field_comes_with_its_crop(
    tiny: TrainingConfig, fields: list[Field]
) -> None:
    nan = float("nan")
    stated = replace(
        fields[0], known=torch.tensor([True, False, False]), tile_values=torch.tensor([nan, nan, 0.25])
    )
    batch = CropSampler([stated], [1.0], tiny).batch(0)
    assert batch.known.tolist() == [[True, False, False]] * 2
    assert batch.tile_values.isnan().tolist() == [[True, True, False]] * 2
    assert batch.tile_values[:, 2].tolist() == [0.25, 0.25]
