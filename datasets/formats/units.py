"""Units of length as instruments and programs write them, and what is no length at all."""

from collections.abc import Iterable

from ultraread.errors import SlideNotAnImage

NM_PER_METRE = 1e9
NM_PER_INCH = 25.4e6
NM_PER_CM = 1e7
NM_PER_UNIT = {
    "pm": 1e-3, "Å": 0.1, "\u212b": 0.1, "A": 0.1, "angstrom": 0.1, "nm": 1.0, "nanometer": 1.0,
    "µm": 1e3, "μm": 1e3, "um": 1e3, "micron": 1e3, "micrometer": 1e3, "mm": 1e6, "cm": NM_PER_CM,
    "inch": NM_PER_INCH, "m": NM_PER_METRE,
}  # fmt: skip
"""The Greek mu and the micro sign, the letter A with ring and the sign for angstrom: all occur in files."""
UNITLESS = frozenset({"", "px", "pix", "pixel", "pixels", "none", "unitless", "a.u.", "?"})


def nm_per(unit: str) -> float | None:
    """Nanometres in one `unit`, None where it is no length. EMD writes `[n_m]` for nm."""
    return NM_PER_UNIT.get(_plain(unit))


def refuse_unless_of_space(units: Iterable[str]) -> None:
    """Raise SlideNotAnImage where an axis is of anything but length or pixels: 1/nm, eV, mrad, s."""
    for unit in units:
        if nm_per(unit) is None and _plain(unit).lower() not in UNITLESS:
            raise SlideNotAnImage("an axis is not of space: a spectrum or a diffraction pattern")


def _plain(unit: str) -> str:
    return unit.strip("\0 ").strip("[]").replace("_", "").replace("\\u00B5", "µ").strip()
