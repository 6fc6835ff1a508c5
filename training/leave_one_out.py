"""Leave one data set out in turn: what a model of the others makes of tissue that it has not seen."""

from collections.abc import Callable
from pathlib import Path

from ultraread.errors import RequestInvalid
from ultraread.models.evaluation import SetFigures
from ultraread.training.config import ConfigPart, TrainingConfig, changed, config_sha256, load_config
from ultraread.training.cross_validation import make_sampler, training_fields
from ultraread.training.fields import learned_sets, load_training_fields
from ultraread.training.judge import predict_set, set_figures
from ultraread.training.model_view import view_of_recipe
from ultraread.training.predict import of_network
from ultraread.training.strangeness import fit_strangeness
from ultraread.training.train import OnStep, train_network

OnSet = Callable[[str], OnStep]
"""Called with the name of the data set that is left out; returns what is called after each step."""


class LeftOut(ConfigPart):
    """One row of the table: learned from the others, judged on this one."""

    learned_from: tuple[str, ...]
    left_out: SetFigures


class LeaveOneOut(ConfigPart):
    """What `training/results/*-leave-one-out.json` holds; scores are not calibrated."""

    config_sha256: str
    steps: int
    rows: tuple[LeftOut, ...]


def leave_one_out(config_file: Path, runs_folder: Path, on_set: OnSet) -> LeaveOneOut:
    """Train without each data set of the recipe in turn. Raises RequestInvalid where there is only one."""
    config = load_config(config_file)
    if len(config.data) < 2:
        raise RequestInvalid(f"{config_file.name} learns from one data set", "Name several [[data]] tables.")
    rows = [_left_out(place, config, runs_folder, on_set) for place in range(len(config.data))]
    return LeaveOneOut(
        config_sha256=config_sha256(config_file), steps=config.optimisation.steps, rows=tuple(rows)
    )


def _left_out(place: int, config: TrainingConfig, runs_folder: Path, on_set: OnSet) -> LeftOut:
    name = learned_sets(config)[place].manifest.name
    return _judge(_without(place, config), config, name, runs_folder, on_set(name), place)


def _judge(
    others: TrainingConfig, config: TrainingConfig, name: str, runs_folder: Path, on_step: OnStep, place: int
) -> LeftOut:
    """Classes that only the data set left out labels stay untrained, and are left out of its figures."""
    fields = load_training_fields(training_fields(others), others)
    network = train_network(make_sampler(fields, others), others, runs_folder / f"without-{name}.pt", on_step)
    view = view_of_recipe(others)
    fit_strangeness(network, fields, view, config.out_of_domain.components)
    judged = learned_sets(config)[place]
    predictions = predict_set(of_network(network), judged.fields, view)
    figures = set_figures(judged.manifest, predictions, view, {}, None, seen_in_training=False)
    return LeftOut(learned_from=tuple(one.manifest.name for one in learned_sets(others)), left_out=figures)


def _without(place: int, config: TrainingConfig) -> TrainingConfig:
    """The recipe without one data set, and without classes that no other one labels.

    Raises RequestInvalid where no class is left.
    """
    data = tuple(one for number, one in enumerate(config.data) if number != place)
    fields = [field for one in learned_sets(changed(config, data=data)) for field in one.fields]
    labelled = {code for field in fields for code in field.codes}
    classes = tuple(one for one in config.classes if one.code in labelled)
    if not classes:
        name = config.data[place].manifest.stem
        raise RequestInvalid(f"without {name} nothing labels a class of the recipe", "Add a data set.")
    return changed(config, data=data, classes=classes)
