"""The training loop: seeded, resumable to the byte, and returning averaged weights."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ultraread.errors import LossNotFinite
from ultraread.training.augmentation import Batch, CropSampler
from ultraread.training.config import OptimisationTable, TrainingConfig
from ultraread.training.network import PatchNetwork, make_network

CHECKPOINT_EVERY = 100
"""Steps between checkpoints: half a minute of work on two cores."""

OnStep = Callable[[int, float], None]
"""Called with the number of steps done and the last loss."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that changes while training; a checkpoint is the states of these."""

    network: PatchNetwork
    average: AveragedModel
    optimiser: AdamW
    schedule: OneCycleLR


def train_network(
    sampler: CropSampler, config: TrainingConfig, checkpoint: Path, on_step: OnStep
) -> PatchNetwork:
    """Train on the sampler's crops and return the averaged network on the processor, ready to infer.

    Goes on from `checkpoint` where it exists; steps done there are not repeated, and the result is the same.
    Raises LossNotFinite, naming the step and its fields.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = _start(config, device)
    for step in range(_resume(run, checkpoint), config.optimisation.steps):
        batch = sampler.batch(step)
        loss = _take_step(run, batch, device, config.optimisation.mixed_precision)
        if not torch.isfinite(torch.tensor(loss)):
            raise LossNotFinite(
                f"step {step + 1}: the loss is {loss} on {', '.join(sorted(set(batch.names)))}"
            )
        on_step(step + 1, loss)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == config.optimisation.steps:
            _save(run, step + 1, checkpoint)
    return cast(PatchNetwork, run.average.module).cpu().eval()


def weights_digest(network: PatchNetwork) -> str:
    """sha256 over names and bytes of all weights: equal where two networks are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def patch_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy over patches of classes that are labelled, and over tiles that have a label.

    `logits` (N, C, h, w). A class that a field does not label adds nothing, so data sets of different
    classes can be learned together.
    """
    known = batch.known[:, :, None, None].expand_as(logits)
    loss = binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    terms = [loss[known].sum(), *_tile_terms(logits, batch)]
    counted = known.sum() + batch.tile_values.isfinite().sum()
    return torch.stack(terms).sum() / counted.clamp_min(1)


def _tile_terms(logits: Tensor, batch: Batch) -> list[Tensor]:
    stated = batch.tile_values.isfinite()
    if not stated.any():
        return []
    means = logits.sigmoid().mean(dim=(2, 3))[stated].clamp(1e-6, 1 - 1e-6)
    told = batch.tile_values[stated]  # torch's own would raise at NaN, before the loss is looked at
    return [-(told * means.log() + (1 - told) * (1 - means).log()).sum()]


def _start(config: TrainingConfig, device: torch.device) -> Run:
    torch.use_deterministic_algorithms(device.type == "cpu")
    table = config.optimisation
    network = make_network(config).to(device).to(memory_format=torch.channels_last).train()
    decay = get_ema_multi_avg_fn(table.ema_decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
    optimiser = AdamW(network.parameters(), lr=table.learning_rate, weight_decay=table.weight_decay)
    return Run(network, average, optimiser, _one_cycle(optimiser, table))


def _one_cycle(optimiser: AdamW, table: OptimisationTable) -> OneCycleLR:
    return OneCycleLR(
        optimiser, max_lr=table.learning_rate, total_steps=table.steps + 1, pct_start=table.warmup_fraction
    )


def _take_step(run: Run, batch: Batch, device: torch.device, mixed_precision: bool) -> float:
    run.optimiser.zero_grad(set_to_none=True)
    images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
    with _precision(device, mixed_precision):
        logits = run.network.patch_logits(images)
    loss = patch_loss(logits.float(), _targets_on(device, batch))
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    run.schedule.step()
    run.average.update_parameters(run.network)
    return loss.item()


def _precision(device: torch.device, mixed: bool) -> torch.autocast:
    """bfloat16 on a GPU; it needs no loss scaling. Processors train in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed and device.type == "cuda")


def _targets_on(device: torch.device, batch: Batch) -> Batch:
    return Batch(
        batch.images,
        batch.targets.to(device),
        batch.known.to(device),
        batch.tile_values.to(device),
        batch.names,
    )


def _save(run: Run, steps_done: int, checkpoint: Path) -> None:
    """Write, fsync, rename: a checkpoint is whole or not there."""
    states = {
        "steps_done": steps_done,
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "schedule": run.schedule.state_dict(),
    }
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    with unfinished.open("wb") as stream:
        torch.save(states, stream)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(checkpoint)


def _resume(run: Run, checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    states = torch.load(checkpoint, map_location="cpu", weights_only=True)
    run.network.load_state_dict(states["network"])
    run.average.load_state_dict(states["average"])
    run.optimiser.load_state_dict(states["optimiser"])
    run.schedule.load_state_dict(states["schedule"])
    return int(states["steps_done"])
