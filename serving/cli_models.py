"""`ultraread models validate`, `ls`, `card`, `register`, `promote`, `rollback`, `withdraw`: the registry."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ultraread.models.cli import AsJson, Ref, print_card, summary, wrapping_table
from ultraread.models.cli_init import print_missing

if TYPE_CHECKING:
    from ultraread.models.card import ModelCard
    from ultraread.models.promotion import Gate
    from ultraread.serving.model_registry import ModelRegistry, Standing
    from ultraread.serving.store.tables import ModelVersionRow, ReadRow

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data folder whose registry is meant.")]
AliasName = Annotated[str, typer.Argument(help="candidate, shadow or champion.")]
Why = Annotated[str, typer.Option("--reason", help="Why; the audit trail keeps it. No patient data.")]
WHO = "local"
"""Whoever may write to the data folder."""


def attach(models: typer.Typer) -> None:
    """Add the commands of the registry to `ultraread models`."""
    for name, command in (
        ("validate", validate),
        ("ls", list_all),
        ("card", card),
        ("register", register),
        ("promote", promote),
        ("rollback", rollback),
        ("withdraw", withdraw),
    ):
        models.command(name)(command)


def validate(ref: Ref, as_json: AsJson = False) -> None:
    """Prove that a model can be trusted to run here: digests, operators, inputs and outputs, golden pair.

    It is loaded in a process of its own, whose memory and time are bounded.

    Where int8 weights miss their golden pair here, their float32 twin is proved. What the card does not
    say yet is listed.

    Example: ultraread models validate ./models/zoo/ultrastructure-vnc/2.0.0
    """
    from ultraread.models.missing import missing_of
    from ultraread.models.registry import find_model
    from ultraread.serving.decoding.model_proof import proved_apart

    model, worst = proved_apart(find_model(ref))
    told = {"model": model.card.ref, "valid": True, "golden_difference": worst, "sha256": model.card.sha256}
    allowed, missing = model.golden_pair.golden_tolerance, missing_of(model)
    if as_json:
        ran = {"uses_twin": model.uses_twin, "onnx_sha256": model.onnx_sha256}
        typer.echo(json.dumps({**told, **ran, "missing": [asdict(gap) for gap in missing]}))
        return
    typer.echo(f"{model.card.ref} is valid here: {worst:.2g} off its golden pair, {allowed:g} allowed")
    if model.uses_twin:
        typer.echo("Its int8 weights miss their golden pair on this machine: its float32 twin runs here.")
    print_missing(missing)


def list_all(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the shipped models and those registered here, with their aliases.

    Example: ultraread models ls
    """
    from ultraread.models.registry import list_models
    from ultraread.serving.local_models import registry_of
    from ultraread.serving.settings import load_settings

    listed = {model.card.ref: _listed(model.card, None) for model in list_models()}
    with registry_of(load_settings(config, data_dir=data_dir)) as registry:
        for one in registry.standings() if registry else ():
            listed[one.row.ref] = _listed(one.model.card if one.model else None, one)
    _print_list(listed, as_json)


def card(ref: Ref, config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a model's card: what it is for, what it is not for, how it was made and how well it does.

    Example: ultraread models card ultrastructure-vnc
    """
    from ultraread.serving.local_models import find_local_model
    from ultraread.serving.settings import load_settings

    found = find_local_model(ref, load_settings(config, data_dir=data_dir)).card
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        print_card(found)


def register(
    path: Annotated[str, typer.Argument(help="Path of a model folder, or the name of a shipped model.")],
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", exists=True, dir_okay=False, help="evaluation.json of this model."),
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove a model, copy it into the registry and give it the alias candidate.

    Once done, a repeat changes nothing but the evaluation, where a newer one is given.

    Example: ultraread models register ./my-model --evaluation evaluation.json
    """
    from ultraread.models.registry import find_model

    with _registry(config, data_dir) as registry:
        row = registry.register(find_model(path), evaluation, WHO)
    _tell(row, f"{row.ref} is registered", as_json)


def promote(
    ref: Annotated[str, typer.Argument(help="name/version or name@alias of a registered model.")],
    alias: AliasName,
    reason: Why,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias to a version that passes the alias's gates; a running service takes it up by itself.

    Example: ultraread models promote ultrastructure-vnc/1.1.0 champion --reason "better on isbi2012"
    """
    with _registry(config, data_dir) as registry:
        judged = registry.judge(ref, _alias(alias))
        if not as_json:
            _print_gates(judged.gates)
        row = registry.promote(judged, WHO, reason)
    _tell(row, f"{row.name}@{alias} is {row.ref} now", as_json, alias=alias, gates=_gates(judged.gates))


def rollback(
    alias: AliasName,
    reason: Why = "rolled back by hand",
    name: Annotated[str, typer.Option("--name", help="The model; not needed where only one has it.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias to the version that it pointed to before.

    Example: ultraread models rollback champion --reason "misses synapses"
    """
    wanted = _alias(alias)
    with _registry(config, data_dir) as registry:
        row = registry.rollback(name or registry.only_name_with(wanted), wanted, WHO, reason)
    _tell(row, f"{row.name}@{alias} is {row.ref} again", as_json, alias=alias)


def withdraw(
    ref: Annotated[str, typer.Argument(help="name/version or name@alias of a registered model.")],
    reason: Why,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let nothing new be read with a version, and list the reads that were.

    It loses its aliases at once. A repeat lists the reads again.

    Example: ultraread models withdraw ultrastructure-vnc/1.1.0 --reason "wrong labels in training"
    """
    with _registry(config, data_dir) as registry:
        row, touched = registry.withdraw(ref, WHO, reason)
    if not as_json:
        _print_reads(touched)
    told = f"{row.ref} is withdrawn; {len(touched)} reads were asked of it"
    _tell(row, told, as_json, reason=row.withdrawn_reason, reads=[_read(read) for read in touched])


@contextmanager
def _registry(config: Path | None, data_dir: Path | None) -> "Iterator[ModelRegistry]":
    """The registry; what was changed in it, MLflow is told in the same command, or later where it is down."""
    from ultraread.serving.local_models import registry_of
    from ultraread.serving.model_mirror import ModelMirror
    from ultraread.serving.settings import load_settings

    settings = load_settings(config, data_dir=data_dir)
    with registry_of(settings, make=True) as registry:
        if registry is None:
            raise AssertionError("a registry that is to be made is there")
        yield registry
        if not ModelMirror(registry.store, registry.files, settings.mlflow_uri).try_to_tell():
            typer.echo("MLflow does not answer; the service or the next command tells it.", err=True)


def _alias(name: str) -> Any:  # noqa: ANN401  # an Alias, whose module is imported only when a command runs
    from ultraread.errors import RequestInvalid
    from ultraread.models.promotion import Alias

    if name not in {*Alias}:
        raise RequestInvalid(f"{name} is no alias", f"Aliases are {', '.join(Alias)}.")
    return Alias(name)


def _tell(row: "ModelVersionRow", told: str, as_json: bool, **more: object) -> None:
    pinned = {"name": row.name, "version": row.version, "onnx_sha256": row.onnx_sha256}
    typer.echo(json.dumps({**pinned, **more}) if as_json else told)


def _listed(card: "ModelCard | None", one: "Standing | None") -> dict[str, Any]:
    return {
        **(summary(card) if card else {}),
        **(_pinned(one.row) if one else {}),
        "registered": one is not None,
        "aliases": list(one.aliases) if one else [],
        "withdrawn_reason": one.row.withdrawn_reason if one else None,
        "damaged": one.damaged if one else None,
    }


def _pinned(row: "ModelVersionRow") -> dict[str, str]:
    return {"name": row.name, "version": row.version, "sha256": row.onnx_sha256}


def _print_list(listed: dict[str, dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([*listed.values()]))
        return
    table = wrapping_table("model", "classes", "nm/px", "made for", "licence of the weights")
    for ref, one in listed.items():
        told = f"{ref}\n{', '.join(one['aliases'])}".rstrip()
        table.add_row(told, *([f"damaged: {one['damaged']}"] if one["damaged"] else _of_card(one)))
    Console().print(table)
    for ref, one in listed.items():
        if one["withdrawn_reason"]:
            typer.echo(f"{ref} is withdrawn: {one['withdrawn_reason']}")


def _of_card(one: dict[str, Any]) -> list[str]:
    nm = one["nm_per_px"]
    return [
        ", ".join(each["name"] for each in one["classes"]),
        f"{nm['nominal']:g} ({nm['min']:g} to {nm['max']:g})",
        ", ".join(one["specimens"]),
        one["licence"]["name"],
    ]


def _print_gates(gates: "Sequence[Gate]") -> None:
    table = wrapping_table("gate", "", "what was found")
    for gate in gates:
        table.add_row(escape(gate.name), "passed" if gate.passed else "FAILED", escape(gate.told))
    Console().print(table)


def _print_reads(touched: "Sequence[ReadRow]") -> None:
    table = wrapping_table("read", "state", "case")
    for read in touched:
        table.add_row(read.id, read.state, read.case_id or "")
    Console().print(table)


def _gates(gates: "Sequence[Gate]") -> list[dict[str, Any]]:
    return [{"name": gate.name, "passed": gate.passed, "told": gate.told} for gate in gates]


def _read(read: "ReadRow") -> dict[str, Any]:
    return {"id": read.id, "state": read.state, "case_id": read.case_id}
