from pathlib import Path

import pytest
import torch
from torch import Tensor

from ultraread.training import train
from ultraread.training.config import TrainingConfig
from ultraread.training.tile_dataset import Section, load_section


@pytest.fixture(scope="module")
def sections(tiny: TrainingConfig) -> list[Section]:
    return [load_section(tiny, 0)]


def weights(sections: list[Section], config: TrainingConfig, checkpoint: Path) -> dict[str, Tensor]:
    return train.train_network(sections, config, checkpoint, lambda steps, loss: None).state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(
    sections: list[Section], tiny: TrainingConfig, tmp_path: Path
) -> None:
    reseeded = tiny.model_copy(update={"optimisation": tiny.optimisation.model_copy(update={"seed": 1})})
    first = weights(sections, tiny, tmp_path / "first.pt")
    assert equal(first, weights(sections, tiny, tmp_path / "second.pt"))
    assert not equal(first, weights(sections, reseeded, tmp_path / "third.pt"))


def test_an_interrupted_run_goes_on_to_the_same_weights(
    sections: list[Section], tiny: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 1)

    def stop_at_step_2(steps: int, loss: float) -> None:
        if steps == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_network(sections, tiny, tmp_path / "stopped.pt", stop_at_step_2)
    seen: list[int] = []
    resumed = train.train_network(
        sections, tiny, tmp_path / "stopped.pt", lambda steps, loss: seen.append(steps)
    )
    assert seen == [2]
    assert equal(resumed.state_dict(), weights(sections, tiny, tmp_path / "whole.pt"))
