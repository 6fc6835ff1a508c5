"""The artefacts that are looked for: what each can fake or hide, what it suppresses, from which limit on."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Artefact(StrEnum):
    """What can be wrong with an image, by its code in scheme 99ULTRAREAD."""

    BLUR = "UR-QC-BLUR"
    ASTIGMATISM = "UR-QC-ASTIGMATISM"
    DRIFT = "UR-QC-DRIFT"
    CHARGING = "UR-QC-CHARGING"
    CHATTER = "UR-QC-CHATTER"
    KNIFE_MARK = "UR-QC-KNIFE-MARK"
    FOLD = "UR-QC-FOLD"
    PRECIPITATE = "UR-QC-PRECIPITATE"
    HOLE = "UR-QC-HOLE"
    GRID_BAR = "UR-QC-GRID-BAR"
    CLIPPING = "UR-QC-CLIPPING"
    JPEG_BLOCKS = "UR-QC-JPEG-BLOCKS"
    INVERTED = "UR-QC-INVERTED"
    SEAM = "UR-QC-SEAM"
    DUPLICATE = "UR-QC-DUPLICATE"
    TEXT = "UR-QC-TEXT"


class Action(StrEnum):
    """What follows from an artefact that was found."""

    MASK = "mask"
    """Its area counts neither for nor against the findings that it suppresses."""
    FLAG = "flag"
    """It is noted; findings that it touches say so, and keep its area."""
    REFUSE = "refuse"
    """No read before an operator has confirmed the image."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: `suppresses` are finding codes, EVERY for all; `limit` is in `unit`, chosen on `source`."""

    artefact: Artefact
    name: str
    signal: str
    fakes_or_hides: str
    suppresses: frozenset[str]
    limit: float
    unit: str
    source: str
    action: Action = Action.MASK


EVERY = frozenset({"*"})
FINE = frozenset({"UR-FIB-D", "UR-TUB", "UR-CIL-ODA", "UR-CIL-IDA", "UR-CIL-MTD", "UR-CIL-CC", "UR-TRI"})
"""Findings that stand on details near the resolution."""
EDGES = FINE | {"UR-MEM", "UR-SYN", "UR-FP-W", "UR-FP-EFF", "UR-GBM-LAM", "UR-MIT-PCI"}
"""Findings that stand on edges and thin lines."""
DENSE = frozenset({"UR-EDD", "UR-VLP", "UR-PLT-DG", "UR-PLT-DGD", "UR-SYN", "UR-GOM"})
"""Findings that stand on how dark something is."""
DEMONSTRATION = frozenset({"UR-MITO", "UR-MYELIN", "UR-AXON", "UR-GBM-TH", "UR-GBM-THIN"})
KNOWN = EDGES | DENSE | DEMONSTRATION

TUNED = "generator A over drosophila_vnc/stack1 and nerve_myelin block 483S1"
REASONED = "reasoning; no data"

RULES = MappingProxyType(
    {
        rule.artefact: rule
        for rule in (
            Rule(
                Artefact.BLUR, "blur and defocus",
                "Gaussian blur that explains how the power spectrum falls off, per tile",
                "edges, membranes, everything small", EVERY, 1.5, "model px (sigma)", TUNED,
            ),
            Rule(
                Artefact.ASTIGMATISM, "astigmatism",
                "one direction has lost more of its short waves, and none is sharp",
                "fibril width, dynein arms, membranes", EDGES, 1.5, "natural logarithm of power", TUNED,
            ),
            Rule(
                Artefact.DRIFT, "drift",
                "one direction has lost more of its short waves, and another one is sharp",
                "membranes across the direction of drift", EDGES, 1.5, "natural logarithm of power", TUNED,
            ),
            Rule(
                Artefact.CHARGING, "charging bands",
                "steps of one sign along parallel lines, or means of rows that scatter unlike columns",
                "edges, areas at their limits", EDGES, 0.5, "mean sign of the step along a line", TUNED,
            ),
            Rule(
                Artefact.CHATTER, "chatter",
                "one peak, and no other, in the mean spectrum of tiles over its surroundings",
                "fibril periodicity, lamination, membranes", EDGES, 1.3, "natural logarithm of power", TUNED,
            ),
            Rule(
                Artefact.KNIFE_MARK, "knife marks",
                "a straight line, darker or brighter than both its sides, through the whole overview",
                "lamination, fibrils, membranes", EDGES, 9.0, "standard errors along the line", TUNED,
            ),
            Rule(
                Artefact.FOLD, "folds", "a straight ribbon through the image, darker than both its sides",
                "deposits, thick membranes, everything doubled", EVERY, 1.45,
                "standard deviations of patches, below both sides", TUNED,
            ),
            Rule(
                Artefact.PRECIPITATE, "precipitate",
                "specks darker than nearly all patches, in patches not dark; or many that are equally dark",
                "dense deposits, virus, granules, synaptic densities", DENSE, 1.0,
                "spans from 5th to 25th percentile, below the 5th", TUNED,
            ),
            Rule(
                Artefact.HOLE, "holes and tears", "patches far brighter than all others, and smooth",
                "vacuoles, lumen; area that is no specimen", EVERY, 2.5,
                "interquartile ranges above the upper quartile of patches", TUNED,
            ),
            Rule(
                Artefact.GRID_BAR, "grid bars",
                "a region from the border inward, as dark as nothing else and without structure",
                "area statistics", EVERY, 0.01, "share of the image", TUNED,
            ),
            Rule(
                Artefact.CLIPPING, "saturation and clipping", "pixels at the ends of the stored range",
                "densities, texture", DENSE, 0.25, "share of a patch", REASONED,
            ),
            Rule(
                Artefact.JPEG_BLOCKS, "JPEG blocks", "steps at every eighth stored pixel over those between",
                "fibrils, fine texture", FINE, 0.05, "relative excess of the step", TUNED, Action.FLAG,
            ),
            Rule(
                Artefact.INVERTED, "inverted contrast",
                "lines brighter than their surroundings, and a histogram with a bright tail",
                "everything", EVERY, 0.2, "polarity of lines, -1 to 1", TUNED, Action.REFUSE,
            ),
            Rule(
                Artefact.SEAM, "montage seams",
                "one line along which neighbouring pixels differ more than along all others",
                "structures cut or counted twice", EVERY, 1.8, "ratio to the median line of the tile", TUNED,
            ),
            Rule(
                Artefact.DUPLICATE, "duplicates",
                "perceptual hash within 12 of 64 bits, and fine structure that correlates",
                "double counting", EVERY, 0.6, "correlation of fine structure", TUNED,
            ),
            Rule(
                Artefact.TEXT, "burnt-in text and bars", "what optical character recognition finds",
                "structures that nobody grew", EVERY, 0.0, "any", "what was found at filing",
            ),
        )
    }
)  # fmt: skip
"""Every artefact has its row; limits were chosen as the row says."""

UNSEEN = (
    "poor or late fixation and autolysis",
    "compression along the cut",
    "tissue rescued from paraffin",
    "beam damage and shrinkage",
    "contamination that looks like tissue",
)
"""What EM can do wrong and is not looked for: pixels alone do not tell it from the specimen."""


def suppressed(artefact: Artefact, codes: Iterable[str]) -> tuple[str, ...]:
    """Those of the codes that are not assessed where the artefact lies, in their order.

    A code that the table does not know is suppressed by whatever masks: what it stands on is not known.
    """
    rule = RULES[artefact]
    masks = rule.action is not Action.FLAG
    return tuple(
        code
        for code in codes
        if rule.suppresses == EVERY or code in rule.suppresses or (masks and code not in KNOWN)
    )
