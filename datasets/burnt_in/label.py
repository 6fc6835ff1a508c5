"""The label of a scale bar: a length with a unit, as people write it and as OCR garbles it."""

import re
import unicodedata

NM_PER_UNIT = {"nm": 1.0, "um": 1e3, "mm": 1e6}
NICE = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 8.0)
"""First digits of lengths that people draw; another one is more likely a misread digit."""
MAX_BAR_NM = 1e7
"""10 mm: no bar over a micrograph stands for more, so more is a misread unit."""

_MICRO = re.compile(r"[µμ]\s*u?|(?<![a-z])u(?=\s*m)|micro(?=m)")
_LABEL = re.compile(
    r"(?:h\s*|[i|l_\-\[\]]\s+)?"  # the bar's left end
    r"(\d[\do]*(?:[.,][\do]+)?|[.,]\d[\do]*)\s*(nm|um|mm|microns?)"
    r"(?:\s+[i|l]|\s*h)?\.?"
)


def length_nm(text: str) -> float | None:
    """Return the length that a bar's label states, in nm; None where the whole text is not one.

    The ends of a bar may be read as `H` beside it, µ as `μu` or `u`, 0 as `O`. What is ambiguous is not
    guessed: `l2 um` may be 2 or 12, `2 pm` may be a µ.
    """
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    found = _LABEL.fullmatch(_MICRO.sub("u", plain).replace("u m", "um"))
    if found is None:
        return None
    unit = "um" if found[2].startswith("micron") else found[2]
    value = float(found[1].replace(",", ".").replace("o", "0")) * NM_PER_UNIT[unit]
    return value if 0 < value <= MAX_BAR_NM and _is_nice(value) else None


def _is_nice(value_nm: float) -> bool:
    first = value_nm
    while first >= 10:
        first /= 10
    while first < 1:
        first *= 10
    return any(abs(first - nice) < 1e-6 for nice in NICE)
