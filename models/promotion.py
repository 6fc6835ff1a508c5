"""What a model version has to show before an alias may point to it: the gates, as pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ultraread.errors import IntegrityFailed, ModelRefused
from ultraread.models.evaluation import EVALUATION_FILE, Comparison, Evaluation, SetFigures
from ultraread.models.missing import missing_of
from ultraread.models.registry import ModelFolder


class Alias(StrEnum):
    """Names that point to one version of a model."""

    CANDIDATE = "candidate"
    """Registered last; nothing is read with it."""
    SHADOW = "shadow"
    """Reads a sample beside the champion; nobody is shown what it finds."""
    CHAMPION = "champion"
    """What reads take."""


class HigherIsBetter(StrEnum):
    """Metrics of an evaluation that a promotion may rest on: a difference below 0 is a loss."""

    AUC_TILE = "auc_tile"
    AUC_PATCH = "auc_patch"
    AVERAGE_PRECISION = "average_precision"
    F1 = "f1"
    DICE = "dice"


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """What a champion is held to: data sets that training did not see, and how much worse is still as good.

    `margin` is in units of the metric (0.02 of an AUC).
    """

    sets: tuple[str, ...]
    metric: HigherIsBetter = HigherIsBetter.AUC_PATCH
    margin: float = 0.02


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition, whether it holds, and what was found."""

    name: str
    passed: bool
    told: str


Proof = float | ModelRefused
"""How far a model is off its golden pair on this machine, or why it does not load here."""
Damage = ModelRefused | IntegrityFailed
"""Why the files of a registered version cannot be opened."""


def gates_of(
    alias: Alias,
    candidate: ModelFolder,
    proof: Proof,
    evaluation: Evaluation | None,
    champion: ModelFolder | Damage | None,
    policy: PromotionPolicy,
) -> tuple[Gate, ...]:
    """Every gate on the way to `alias`; only a champion is held to its evaluation."""
    needed = (_card_gate(candidate, alias), _golden_gate(candidate, proof))
    return (
        needed if alias is not Alias.CHAMPION else (*needed, *gates(candidate, evaluation, champion, policy))
    )


def gates(
    candidate: ModelFolder,
    evaluation: Evaluation | None,
    champion: ModelFolder | Damage | None,
    policy: PromotionPolicy,
) -> tuple[Gate, ...]:
    """What the evaluation has to show: the named sets, unseen in training, and no loss beyond the margin."""
    stated = _evaluation_gate(candidate, evaluation)
    if evaluation is None or not stated.passed:
        return (stated,)
    judged = [_set_gate(name, evaluation, policy) for name in policy.sets]
    if isinstance(champion, Damage):
        return (stated, *judged, _damage_gate(champion))
    return (stated, *judged, _classes_gate(candidate, champion), *_loss_gates(evaluation, champion, policy))


def failed(found: Sequence[Gate]) -> str:
    """The gates that did not pass, in words; empty where all did."""
    return "; ".join(f"{gate.name}: {gate.told}" for gate in found if not gate.passed)


def _card_gate(candidate: ModelFolder, alias: Alias) -> Gate:
    """Any card that loads follows its schema; that of a champion leaves nothing unsaid."""
    gaps = [one.what for one in missing_of(candidate) if one.fields != EVALUATION_FILE]
    if alias is Alias.CHAMPION and gaps:
        return Gate("card", False, f"it does not say: {', '.join(gaps)}")
    return Gate("card", True, f"{candidate.card.ref} follows its schema{_unsaid(gaps)}")


def _unsaid(gaps: Sequence[str]) -> str:
    return f"; not said: {', '.join(gaps)}" if gaps else " and leaves nothing unsaid"


def _golden_gate(candidate: ModelFolder, proof: Proof) -> Gate:
    if isinstance(proof, ModelRefused):
        return Gate("golden pair", False, f"{proof.what} ({proof.code})")
    twin = candidate.card.fp32_twin  # taken where the int8 model does not hold its own pair
    pairs = [candidate.card.golden_pair, *([twin.golden_pair] if twin else [])]
    allowed = max(pair.golden_tolerance for pair in pairs)
    return Gate("golden pair", proof <= allowed, f"{proof:.2g} off on this machine, {allowed:g} allowed")


def _evaluation_gate(candidate: ModelFolder, evaluation: Evaluation | None) -> Gate:
    if evaluation is None:
        return Gate("evaluation", False, "there is none; register it with --evaluation FILE")
    ours = (candidate.card.sha256, candidate.card_sha256)
    if (evaluation.onnx_sha256, evaluation.card_sha256) != ours:
        return Gate("evaluation", False, f"it is of other weights or another card ({evaluation.model})")
    return Gate("evaluation", True, "it is of these weights and this card")


def _set_gate(name: str, evaluation: Evaluation, policy: PromotionPolicy) -> Gate:
    gate, found = f"set {name}", _set_of(evaluation, name)
    if found is None:
        return Gate(gate, False, "it was not evaluated on this set")
    if found.seen_in_training:
        return Gate(gate, False, "training saw this set: its figures show memory")
    codes = _judged(found, policy)
    if not codes:
        return Gate(gate, False, f"no class has {policy.metric} on this set")
    return Gate(gate, True, f"{policy.metric} of {', '.join(codes)} over {found.fields} fields")


def _classes_gate(candidate: ModelFolder, champion: ModelFolder | None) -> Gate:
    ours = {one.code for one in candidate.card.classes}
    theirs = {one.code for one in champion.card.classes} if champion else set[str]()
    lost = sorted(theirs - ours)
    return Gate(
        "classes", not lost, f"it has no {', '.join(lost)}" if lost else "it has all of the champion's"
    )


def _damage_gate(damage: Damage) -> Gate:
    """What cannot be compared is not known to be as good."""
    told = f"cannot be compared: {damage.what} ({damage.code}); register it again, roll back, or withdraw it"
    return Gate("not worse than the champion", False, told)


def _loss_gates(
    evaluation: Evaluation, champion: ModelFolder | None, policy: PromotionPolicy
) -> Iterator[Gate]:
    """Not worse beyond the margin, for each class that a named set labels."""
    if champion is None:
        yield Gate("not worse than the champion", True, "no champion yet")
        return
    if champion.card.sha256 == evaluation.onnx_sha256:
        yield Gate("not worse than the champion", True, "the weights are the champion's own")
        return
    for name in policy.sets:
        found = _set_of(evaluation, name)
        for code in _judged(found, policy) if found else ():
            yield _loss_gate(evaluation, champion, policy, name, code)


def _loss_gate(
    evaluation: Evaluation, champion: ModelFolder, policy: PromotionPolicy, name: str, code: str
) -> Gate:
    """The interval decides, not the difference itself: few fields make it wide, and then nothing is shown."""
    gate = f"{code} on {name}"
    wanted = (name, policy.metric.value, code, champion.card.sha256)
    found = [one for one in evaluation.comparisons if _compared(one) == wanted]
    if not found:
        return Gate(gate, False, f"{policy.metric} was not compared with the champion {champion.card.ref}")
    low, high = found[0].ci95
    told = f"{found[0].difference:+.3f} [{low:+.3f}, {high:+.3f}] against {champion.card.ref}"
    held = all(one.ci95[0] >= -policy.margin for one in found)  # NaN compares false
    return Gate(gate, held, f"{told}, lower end at least {-policy.margin:g} wanted")


def _compared(one: Comparison) -> tuple[str, str, str, str]:
    return one.dataset, one.metric, one.code, one.against_onnx_sha256


def _set_of(evaluation: Evaluation, name: str) -> SetFigures | None:
    return next((one for one in evaluation.sets if one.dataset == name), None)


def _judged(found: SetFigures, policy: PromotionPolicy) -> list[str]:
    """Codes of the classes that a set labels, as far as its figures show."""
    return sorted({one.code for one in found.figures if one.metric == policy.metric.value and one.code})
