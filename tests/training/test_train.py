"""Training is repeatable to the byte, and a run that was killed ends like one that was not."""

import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import resumable_training
import torch
from made_run import silent
from made_tissue import write_recipe
from torch.nn.functional import binary_cross_entropy_with_logits

from ultraread.errors import LossNotFinite
from ultraread.training import train
from ultraread.training.augmentation import Batch, CropSampler
from ultraread.training.config import TrainingConfig, changed
from ultraread.training.cross_validation import make_sampler
from ultraread.training.fields import Field
from ultraread.training.network import PatchNetwork
from ultraread.training.train import patch_loss, train_network, weights_digest

STEPS = 12
KILLS = 20
NAN = float("nan")


def trained(fields: list[Field], config: TrainingConfig, checkpoint: Path) -> PatchNetwork:
    return train_network(make_sampler(fields, config), config, checkpoint, silent)


def batch_of(targets: torch.Tensor, known: list[bool], tile_values: list[float]) -> Batch:
    """One crop with these targets (C, h, w)."""
    return Batch(
        torch.zeros(1, 1, 32, 32), targets[None], torch.tensor([known]), torch.tensor([tile_values]), ("a",)
    )


def test_the_same_recipe_gives_the_same_weights_and_another_seed_does_not(
    fields: list[Field], tiny: TrainingConfig, tmp_path: Path
) -> None:
    first = weights_digest(trained(fields, tiny, tmp_path / "first.pt"))
    assert weights_digest(trained(fields, tiny, tmp_path / "second.pt")) == first
    reseeded = changed(tiny, optimisation=changed(tiny.optimisation, seed=1))
    assert weights_digest(trained(fields, reseeded, tmp_path / "third.pt")) != first


def test_training_lowers_the_loss(fields: list[Field], tiny: TrainingConfig, tmp_path: Path) -> None:
    longer = changed(tiny, optimisation=changed(tiny.optimisation, steps=60, batch=4))
    losses: list[float] = []
    train_network(
        make_sampler(fields, longer), longer, tmp_path / "run.pt", lambda _, loss: losses.append(loss)
    )
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_weights_kept_are_an_average_over_steps(
    fields: list[Field], tiny: TrainingConfig, tmp_path: Path
) -> None:
    slow, fast = (
        changed(tiny, optimisation=changed(tiny.optimisation, ema_decay=decay)) for decay in (0.99, 0.0)
    )
    kept = trained(fields, slow, tmp_path / "slow.pt")
    last = trained(fields, fast, tmp_path / "fast.pt")
    assert weights_digest(kept) != weights_digest(last)
    assert not kept.training
    states = torch.load(tmp_path / "slow.pt", weights_only=True)
    assert torch.equal(states["network"]["head.3.bias"], last.state_dict()["head.3.bias"])


def test_patches_of_a_class_that_is_not_labelled_add_nothing() -> None:
    logits, targets = torch.randn(1, 2, 2, 2), torch.rand(2, 2, 2)
    loss = patch_loss(logits, batch_of(targets, [True, False], [NAN, NAN]))
    torch.testing.assert_close(loss, binary_cross_entropy_with_logits(logits[0, 0], targets[0]))
    logits.requires_grad_()
    patch_loss(logits, batch_of(targets, [True, False], [NAN, NAN])).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 0] != 0).all()
    assert (logits.grad[0, 1] == 0).all()


def test_a_label_of_the_whole_crop_is_held_against_the_mean_of_its_patches() -> None:
    logits, targets = torch.randn(1, 2, 2, 2), torch.zeros(2, 2, 2)
    mean, stated = logits[0, 1].sigmoid().mean(), torch.tensor(0.25)
    loss = patch_loss(logits, batch_of(targets, [False, False], [NAN, 0.25]))
    torch.testing.assert_close(loss, -(stated * mean.log() + (1 - stated) * (1 - mean).log()))


def test_a_patch_and_a_label_of_a_crop_count_alike() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    both = patch_loss(logits, batch_of(torch.ones(2, 2, 2), [True, False], [NAN, 1.0]))
    assert float(both) == pytest.approx(torch.tensor(2.0).log().item())


def test_a_batch_that_nothing_labels_costs_nothing() -> None:
    nothing = batch_of(torch.zeros(2, 2, 2), [False, False], [NAN, NAN])
    assert float(patch_loss(torch.randn(1, 2, 2, 2), nothing)) == 0


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_field(
    fields: list[Field], tiny: TrainingConfig, tmp_path: Path
) -> None:
    labelled = replace(fields[0].labelled, name="spoiled.png")
    spoiled = replace(fields[0], labelled=labelled, grey=torch.full_like(fields[0].grey, NAN))
    sampler = CropSampler([spoiled], [1.0], tiny)
    with pytest.raises(LossNotFinite, match=r"step 1: the loss is nan on spoiled\.png"):
        train_network(sampler, tiny, tmp_path / "run.pt", silent)
    assert not (tmp_path / "run.pt").exists()


def test_checkpoints_are_written_now_and_then_and_at_the_end(
    fields: list[Field], tiny: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 3)
    checkpoint, seen = tmp_path / "run.pt", []

    def look(steps: int, _loss: float) -> None:
        seen.append(torch.load(checkpoint, weights_only=True)["steps_done"] if checkpoint.exists() else 0)

    train_network(make_sampler(fields, tiny), tiny, checkpoint, look)
    assert seen == [0, 0, 0, 3]
    assert torch.load(checkpoint, weights_only=True)["steps_done"] == 4


@dataclass(frozen=True, slots=True)
class Trainings:
    """Starts trainings of one recipe in processes of their own."""

    processes: ForkServerContext
    recipe: Path

    def start(self, checkpoint: Path, die_at_write: int = resumable_training.NEVER) -> "Training":
        hears, tells = self.processes.Pipe(duplex=False)
        arguments = (self.recipe, checkpoint, tells, die_at_write)
        process = self.processes.Process(target=resumable_training.run, args=arguments)
        process.start()
        tells.close()
        return Training(process, hears)

    def finish(self, checkpoint: Path) -> tuple[list[int], str]:
        """Run to the end; the steps that were done, and the digest of the weights."""
        training = self.start(checkpoint)
        *steps, digest = training.told()
        assert training.ended() == 0
        return steps, digest


@dataclass(frozen=True, slots=True)
class Training:
    process: multiprocessing.process.BaseProcess
    hears: multiprocessing.connection.Connection

    def told(self) -> Iterator:
        """What it tells, until it ends."""
        try:
            while True:
                yield self.hears.recv()
        except EOFError:
            return

    def ended(self) -> int:
        """Its exit status; of one that a signal ended, minus the signal."""
        self.process.join(60)
        assert self.process.exitcode is not None
        return self.process.exitcode


@pytest.fixture(scope="module")
def trainings(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """Processes are forked from one that has loaded torch and run nothing."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ultraread.training.cross_validation"])
    return Trainings(
        processes, write_recipe(tmp_path_factory.mktemp("killed") / "killed.toml", manifest, steps=STEPS)
    )


@pytest.fixture(scope="module")
def uninterrupted(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The digest of the weights of a run that nobody killed, and the seconds between two of its steps."""
    training, times, told = trainings.start(tmp_path_factory.mktemp("whole") / "run.pt"), [], []
    for one in training.told():
        times.append(time.monotonic())
        told.append(one)
    assert training.ended() == 0
    assert told[:-1] == list(range(1, STEPS + 1))
    return told[-1], (times[-2] - times[0]) / (STEPS - 1)


@pytest.mark.parametrize(
    "kill", [pytest.param(kill, marks=[pytest.mark.full] if kill >= 3 else []) for kill in range(KILLS)]
)
def test_a_run_that_was_killed_at_any_moment_ends_with_the_same_weights(
    trainings: Trainings, uninterrupted: tuple[str, float], tmp_path: Path, kill: int
) -> None:
    """Some moment after a random step, other than the last: calculating, or writing a checkpoint."""
    digest, step_seconds = uninterrupted
    chance = random.Random(kill)  # noqa: S311  # no secret
    last, later_s = chance.randrange(1, STEPS - 1), chance.random() * step_seconds
    training = trainings.start(tmp_path / "run.pt")
    assert next(step for step in training.told() if step == last)
    time.sleep(later_s)
    training.process.kill()
    unread = list(training.told())
    assert training.ended() == -signal.SIGKILL
    assert digest not in unread, "there was work left"
    steps, resumed = trainings.finish(tmp_path / "run.pt")
    assert resumed == digest
    assert last <= steps[0] <= last + len(unread) + 1, "what a checkpoint holds is not done again"
    assert steps == list(range(steps[0], STEPS + 1))


@pytest.mark.parametrize("write", [0, 5])
def test_a_checkpoint_that_a_kill_left_unfinished_is_never_taken(
    trainings: Trainings, uninterrupted: tuple[str, float], tmp_path: Path, write: int
) -> None:
    killed = trainings.start(tmp_path / "run.pt", die_at_write=write)
    assert list(killed.told()) == list(range(1, write + 2))
    assert killed.ended() == -signal.SIGKILL
    assert (tmp_path / "run.part").exists()
    assert (tmp_path / "run.pt").exists() == (write > 0)
    steps, digest = trainings.finish(tmp_path / "run.pt")
    assert steps == list(range(write + 1, STEPS + 1))
    assert digest == uninterrupted[0]
    assert not (tmp_path / "run.part").exists()


def test_what_an_unfinished_checkpoint_holds_does_not_matter(
    fields: list[Field], tiny: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "spoiled.part").write_bytes(b"half a checkpoint")
    spoiled = weights_digest(trained(fields, tiny, tmp_path / "spoiled.pt"))
    assert spoiled == weights_digest(trained(fields, tiny, tmp_path / "clean.pt"))
