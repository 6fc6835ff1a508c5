"""A label counts where all of it is one length; what OCR garbles beyond doubt is not guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SCALES_NM

from ultraread.datasets.burnt_in.label import MAX_BAR_NM, NICE, NM_PER_UNIT, length_nm

NUMBERS = ("0.2", "0.25", "0.5", "1", "1.25", "2", "2.5", "4", "5", "10", "20", "50", "100", "200", "500")
SPELLINGS = {
    "nm": ("nm", "NM", "nm."),
    "um": ("um", "µm", "μm", "μum", "u m", "micron", "microns"),
    "mm": ("mm",),
}


@given(
    number=st.sampled_from(NUMBERS),
    unit=st.sampled_from(list(SPELLINGS)),
    data=st.data(),
    before=st.sampled_from(["", "H ", "H", "I ", "| ", "- "]),
    after=st.sampled_from(["", " H", " |", " "]),
    comma=st.booleans(),
)
def test_a_length_is_read_however_it_is_spelt_and_whatever_the_ends_of_the_bar_look_like(
    number: str, unit: str, data: st.DataObject, before: str, after: str, comma: bool
) -> None:
    spelt = data.draw(st.sampled_from(SPELLINGS[unit]))
    space = data.draw(st.sampled_from(["", " ", "  "]))
    written = number.replace(".", ",") if comma else number
    meant = float(number) * NM_PER_UNIT[unit]
    text = f"{before}{written}{space}{spelt}{after if not spelt.endswith('.') else ''}"
    assert length_nm(text) == (pytest.approx(meant) if meant <= MAX_BAR_NM else None)


@pytest.mark.parametrize(
    ("garbled", "nm"), [("1O0 nm", 100), ("5OO nm", 500), ("O.5 um", None), (".5 µm", 500)]
)
def test_an_o_within_a_number_is_a_zero(garbled: str, nm: float | None) -> None:
    assert length_nm(garbled) == nm


@pytest.mark.parametrize(
    "text",
    ["", "2", "um", "l2 um", "I2 um", "2 pm", "2 rm", "11.50kx", "HV=80.0kV", "51 mm", "7 um", "9 nm",
     "500 mm", "Print Mag: 12000x @ 5 mm", "2 um 5 um", "2.5.0 um", "-2 um", "0 nm", "2 m", "B24-1234"],
)  # fmt: skip
def test_what_is_ambiguous_or_no_length_gives_none(text: str) -> None:
    assert length_nm(text) is None


@given(SCALES_NM)
def test_a_length_that_nobody_draws_is_taken_for_a_misread_digit(nm: float) -> None:
    written = f"{nm:.3g}"
    if "e" not in written:
        first = float(written.replace(".", "").lstrip("0")[:3].ljust(3, "0")) / 100
        assert (length_nm(f"{written} nm") is not None) == (first in NICE)


@given(st.text(max_size=40))
def test_no_text_is_too_strange_to_be_looked_at(text: str) -> None:
    found = length_nm(text)
    assert found is None or 0 < found <= MAX_BAR_NM
