"""Platt scaling of patch scores a class, fitted on out-of-fold predictions and judged cross-fitted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ultraread.models.card import ClassCalibration
from ultraread.training.class_maps import ClassMaps
from ultraread.training.metrics import Scored, Values, calibration_error_of_resample
from ultraread.training.network import PatchNetwork

SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Scale:
    """Logits are divided by `temperature`, then shifted by `bias`."""

    temperature: float = 1.0
    bias: float = 0.0

    def __call__(self, scores: Values) -> Values:
        clipped = scores.clip(SMALLEST, 1 - SMALLEST)
        logits = np.log(clipped / (1 - clipped))
        scaled: Values = 1 / (1 + np.exp(-(logits / self.temperature + self.bias)))
        return scaled


def fit_scale(scored: Scored) -> Scale:
    """The temperature and bias with the least cross-entropy between score and area fraction (Platt 1999).

    Targets are area fractions, so a calibrated score is an expected area. A temperature is never negative:
    scores keep their order.
    """
    scores = torch.from_numpy(np.concatenate(scored.scores)).clamp(SMALLEST, 1 - SMALLEST).logit()
    fractions = torch.from_numpy(np.concatenate(scored.fractions))
    log_slope, bias = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS([log_slope, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        entropy = binary_cross_entropy_with_logits(log_slope.exp() * scores + bias, fractions)
        entropy.backward()  # type: ignore[no-untyped-call]
        return entropy

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return Scale(math.exp(-log_slope.item()), bias.item())


def cross_fitted(maps: ClassMaps) -> ClassMaps:
    """The maps with each group scaled by what the other groups say."""
    scored = maps.scored()
    scales = [fit_scale(_without(scored, group)) for group in range(scored.groups)]
    pairs = zip(scales, maps.predicted, strict=True)
    predicted = tuple(tuple(scale(one) for one in group) for scale, group in pairs)
    return ClassMaps(maps.one, predicted, maps.true, maps.group_name)


def rescaled(maps: ClassMaps, scale: Scale) -> ClassMaps:
    """The maps as the calibrated model gives them."""
    predicted = tuple(tuple(scale(one) for one in group) for group in maps.predicted)
    return ClassMaps(maps.one, predicted, maps.true, maps.group_name)


def class_calibration(maps: ClassMaps, scale: Scale) -> ClassCalibration:
    """What the card says of one class: the scale, and errors before and after (cross-fitted)."""
    before, after = maps.scored(), cross_fitted(maps).scored()
    return ClassCalibration(
        code=maps.one.code,
        temperature=round(scale.temperature, 6),
        bias=round(scale.bias, 6),
        ece_before=_rounded(calibration_error(before)),
        ece_after=_rounded(calibration_error(after)),
        brier_before=_rounded(brier(before)),
        brier_after=_rounded(brier(after)),
    )


def calibration_error(scored: Scored) -> float:
    """Expected calibration error of all groups together, score against area fraction."""
    return calibration_error_of_resample(scored.scores, scored.fractions)(np.ones(scored.groups))


def brier(scored: Scored) -> float:
    """Mean squared difference of score and area fraction."""
    return float(np.square(np.concatenate(scored.scores) - np.concatenate(scored.fractions)).mean())


def set_scales(network: PatchNetwork, calibrated: Sequence[ClassCalibration]) -> None:
    """Put the scales into the network, from where they are exported with it."""
    temperatures = torch.tensor([one.temperature for one in calibrated])
    network.calibration.temperature.copy_(temperatures[None, :, None, None])
    network.calibration.bias.copy_(torch.tensor([one.bias for one in calibrated])[None, :, None, None])


def _without(scored: Scored, group: int) -> Scored:
    kept = [number for number in range(scored.groups) if number != group]
    return Scored([scored.scores[n] for n in kept], [scored.fractions[n] for n in kept])


def _rounded(value: float) -> float:
    return round(value, 6)
