"""Artefacts change the picture by their strength, the same every time, and labels stay on their things."""

from dataclasses import replace

import pytest
import torch

from ultraread.training.artefacts import ARTEFACTS, Artefact, blur, contrast, jpeg, noise, with_artefact
from ultraread.training.fields import Field

BY_NAME = {one.name: one for one in ARTEFACTS}
WEAKEST = {"blur": 0.05, "defocus": 0.01, "noise": 0.0, "contrast": 1.0, "scale": 1.0, "jpeg": 100.0}
artefact = pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda one: one.name)


def changed_by(field: Field, artefact: Artefact, strength: float) -> float:
    """Mean absolute change of grey."""
    return float((with_artefact(field, artefact, strength).grey - field.grey).abs().mean())


@artefact
def test_at_next_to_no_strength_the_picture_is_as_filed(fields: list[Field], artefact: Artefact) -> None:
    assert changed_by(fields[0], artefact, WEAKEST[artefact.name]) < 0.005


@artefact
def test_it_is_the_same_every_time_and_labels_of_its_size_stay(
    fields: list[Field], artefact: Artefact
) -> None:
    strength = artefact.strengths[0]
    once, again = (with_artefact(fields[0], artefact, strength) for _ in range(2))
    assert torch.equal(once.grey, again.grey)
    assert once.grey.dtype == torch.float32
    if not artefact.rescales:
        assert once.masks is fields[0].masks
        assert once.grey.shape == fields[0].grey.shape
        assert changed_by(fields[0], artefact, strength) > 0.003


@pytest.mark.parametrize("name", ["blur", "defocus", "noise"])
def test_more_strength_changes_more(fields: list[Field], name: str) -> None:
    changes = [changed_by(fields[0], BY_NAME[name], one) for one in BY_NAME[name].strengths]
    assert changes == sorted(changes)
    assert changes[-1] > 1.1 * changes[0]


def test_lower_quality_changes_more(fields: list[Field]) -> None:
    changes = [changed_by(fields[0], BY_NAME["jpeg"], one) for one in (50, 20, 10)]
    assert changes == sorted(changes)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_rescaled_field_keeps_its_labels_on_its_things(fields: list[Field], factor: float) -> None:
    """The field is a picture of its own mask."""
    pictured = replace(fields[0], grey=fields[0].masks[:1].float())
    changed = with_artefact(pictured, BY_NAME["scale"], factor)
    side = round(256 * factor)
    assert changed.grey.shape == (1, side, side)
    assert changed.masks.shape == (3, side, side)
    assert ((changed.grey[0] >= 0.5) == changed.masks[0].bool()).float().mean() > 0.99
    assert float(changed.masks[0].float().mean()) == pytest.approx(
        float(pictured.masks[0].float().mean()), rel=0.03
    )


def test_noise_has_the_strength_that_it_states(fields: list[Field]) -> None:
    added = noise(fields[0].grey, 0.5) - fields[0].grey
    assert float(added.std() / fields[0].grey.std()) == pytest.approx(0.5, rel=0.02)


def test_a_gamma_keeps_black_and_white_and_the_order_between() -> None:
    grey = torch.linspace(0, 1, 11)[None, None]
    curved = contrast(grey, 2.0)
    assert (float(curved[0, 0, 0]), float(curved[0, 0, 5]), float(curved[0, 0, 10])) == (0, 0.25, 1)


def test_blur_keeps_the_mean_and_takes_detail(fields: list[Field]) -> None:
    blurred = blur(fields[0].grey, 2.0)
    assert float(blurred.mean()) == pytest.approx(float(fields[0].grey.mean()), abs=0.005)
    assert float(blurred.std()) < float(fields[0].grey.std())


def test_jpeg_keeps_values_between_0_and_1(fields: list[Field]) -> None:
    stored = jpeg(fields[0].grey * 1.5 - 0.2, 10)
    assert 0 <= float(stored.min()) < float(stored.max()) <= 1
