"""A training in a process of its own, that can be killed at any moment and started again."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from ultraread.training import train
from ultraread.training.config import load_config
from ultraread.training.cross_validation import make_sampler, training_fields
from ultraread.training.fields import load_training_fields

NEVER = -1


def run(recipe: Path, checkpoint: Path, told: Connection, die_at_write: int = NEVER) -> None:
    """Train with a checkpoint after every step; tell each step, and in the end the digest of the weights.

    At write number `die_at_write` the process kills itself when the checkpoint's bytes are written and its
    name is not.
    """
    train.CHECKPOINT_EVERY = 1
    if die_at_write != NEVER:
        _die_at_write(die_at_write)
    config = load_config(recipe)
    sampler = make_sampler(load_training_fields(training_fields(config), config), config)
    network = train.train_network(sampler, config, checkpoint, lambda steps, loss: told.send(steps))
    told.send(train.weights_digest(network))


def _die_at_write(number: int) -> None:
    writes = iter(range(number))

    def fsync(_file: int) -> None:
        if next(writes, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    train.os.fsync = fsync
