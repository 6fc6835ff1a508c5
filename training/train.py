"""The training loop: seeded, resumable, and returning averaged weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ultraread.training.augmentation import CropSampler
from ultraread.training.config import OptimisationTable, TrainingConfig
from ultraread.training.network import PatchNetwork, make_network
from ultraread.training.tile_dataset import Section

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
    sections: Sequence[Section], config: TrainingConfig, checkpoint: Path, on_step: OnStep
) -> PatchNetwork:
    """Train on random crops of `sections` and return the averaged network, ready to infer.

    Goes on from `checkpoint` where it exists; steps done there are not repeated, and the result is the same.
    """
    run = _start(config)
    sampler = CropSampler(sections, config)
    for step in range(_resume(run, checkpoint), config.optimisation.steps):
        loss = _take_step(run, *sampler.batch(step))
        on_step(step + 1, loss)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            _save(run, step + 1, checkpoint)
    return cast(PatchNetwork, run.average.module).eval()


def _start(config: TrainingConfig) -> Run:
    table = config.optimisation
    network = make_network(config).to(memory_format=torch.channels_last).train()
    decay = get_ema_multi_avg_fn(table.ema_decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
    optimiser = AdamW(network.parameters(), lr=table.learning_rate, weight_decay=table.weight_decay)
    return Run(network, average, optimiser, _one_cycle(optimiser, table))


def _one_cycle(optimiser: AdamW, table: OptimisationTable) -> OneCycleLR:
    return OneCycleLR(
        optimiser, max_lr=table.learning_rate, total_steps=table.steps + 1, pct_start=table.warmup_fraction
    )


def _take_step(run: Run, crops: Tensor, targets: Tensor) -> float:
    run.optimiser.zero_grad(set_to_none=True)
    logits = run.network.patch_logits(crops.contiguous(memory_format=torch.channels_last))
    loss = binary_cross_entropy_with_logits(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    run.schedule.step()
    run.average.update_parameters(run.network)
    return loss.item()


def _save(run: Run, steps_done: int, checkpoint: Path) -> None:
    states = {
        "steps_done": steps_done,
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "schedule": run.schedule.state_dict(),
    }
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    torch.save(states, unfinished)
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
