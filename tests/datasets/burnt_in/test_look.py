"""What is drawn into pixels is found where it is, and nothing is found where nothing was drawn."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_bar import DrawnBar, field_of_noise, save, with_bars
from hypothesis import given
from hypothesis import strategies as st
from strategies import SCALES_NM

from ultraread.datasets.burnt_in.look import BurntInBar, BurntInText, Look, is_looked_at, look_at, look_at_all
from ultraread.datasets.corpora import fetch, files_under
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin

KIDNEY = "kidney_tem_glomerulus/A1--0024.jpg"
BARE = [
    *files_under("cilia_tem")[-2:],
    "kidney_tem_najafian/good.png",
    "kidney_tem_najafian/bad.png",
    "drosophila_vnc/stack2/raw/07.tif",
    "isbi2012/raw/21.png",
    "hela_sbfsem/raw/z0001.tif",
    "nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif",
]
BARS = [
    DrawnBar(180, "2 um", 60, 640),
    DrawnBar(301, "500 nm", 300, 650, caps=True),
    DrawnBar(97, "0.5 um", 500, 40, ink=0, plate=255),
    DrawnBar(220, "100 nm", 100, 655, plate=None),
]
NM = {"2 um": 2000.0, "500 nm": 500.0, "0.5 um": 500.0, "100 nm": 100.0}


def _look(path: Path) -> Look:
    with open_slide(path) as slide:
        (look,) = look_at_all(slide)
    return look


@pytest.fixture(scope="module")
def kidney() -> Look:
    return _look(fetch(KIDNEY))


def test_the_kidney_field_s_bar_is_measured_by_its_core_and_not_by_its_white_outline(kidney: Look) -> None:
    (bar,) = kidney.bars
    assert bar.length_px == pytest.approx(614, abs=0.6)
    assert (bar.length_nm, bar.uncertainty_px) == (2000, 1.0)
    assert kidney.scale
    assert kidney.scale.x_nm_per_px == pytest.approx(3.26, rel=0.002)
    assert kidney.scale.origin == ScaleOrigin.BURNT_IN_BAR
    assert kidney.scale.tolerance == pytest.approx(0.05 + 1 / 614, abs=1e-4)
    assert "2000 nm over 614.0 px" in kidney.scale.reason


def test_the_kidney_field_s_name_and_magnification_are_read_where_they_stand(kidney: Look) -> None:
    places = {text.text: text.box for text in kidney.texts}
    name, magnification = places["Name: A1--0024"], places["Total magnification: 11.50kx"]
    assert _holds(name, BoxPx(1010, 2345, 530, 50))
    assert _holds(magnification, BoxPx(2440, 2345, 1090, 45))
    assert len(kidney.plates) >= 2


def test_the_neutrophil_s_bar_is_as_exact_as_its_end_caps_let_it_be() -> None:
    look = _look(fetch("neutrophil_tem/ASD027--003.jpg"))
    assert look.scale
    assert look.scale.x_nm_per_px == pytest.approx(2.62, rel=0.002)
    assert look.scale.tolerance == pytest.approx(0.05 + 33 / 763, abs=1e-3)
    assert any(_holds(plate, BoxPx(0, 4100, 4096, 120)) for plate in look.plates)


@pytest.mark.parametrize("path", BARE)
def test_a_field_without_anything_drawn_into_it_shows_nothing(path: str) -> None:
    assert _look(fetch(path)) == Look()


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.label)
def test_a_drawn_bar_states_its_scale(bar: DrawnBar, tmp_path: Path) -> None:
    look = _look(save(tmp_path / "field.png", with_bars(field_of_noise(), bar)))
    (found,) = look.bars
    assert found.length_px == pytest.approx(bar.length_px, abs=0.5)
    assert found.length_nm == NM[bar.label]
    assert _holds(found.box, BoxPx(bar.x, bar.y, bar.length_px, 6))


def test_a_bar_on_16_bit_pixels_is_found(tmp_path: Path) -> None:
    pixels = with_bars(field_of_noise(), BARS[0]).astype("uint16") * 257
    look = _look(save(tmp_path / "field.png", pixels))
    assert look.scale
    assert look.scale.x_nm_per_px == pytest.approx(2000 / 180, rel=0.005)


@pytest.mark.parametrize("label", ["", "scale", "2 pm", "l2 um"])
def test_a_bar_without_a_label_that_is_beyond_doubt_states_no_scale(label: str, tmp_path: Path) -> None:
    look = _look(save(tmp_path / "field.png", with_bars(field_of_noise(), BARS[0]._replace(label=label))))
    assert [bar.length_nm for bar in look.bars] == [None]
    assert look.scale is None


def test_two_bars_that_contradict_each_other_state_no_scale(tmp_path: Path) -> None:
    one, other = BARS[0], DrawnBar(180, "5 um", 60, 40)
    look = _look(save(tmp_path / "field.png", with_bars(field_of_noise(), one, other)))
    assert sorted(bar.length_nm or 0 for bar in look.bars) == [2000, 5000]
    assert look.scale is None


def test_two_bars_that_agree_state_one_scale(tmp_path: Path) -> None:
    one, other = BARS[0], DrawnBar(90, "1 um", 60, 40)
    look = _look(save(tmp_path / "field.png", with_bars(field_of_noise(), one, other)))
    assert look.scale
    assert look.scale.x_nm_per_px == pytest.approx(2000 / 180, rel=0.005)


def test_an_image_too_large_without_a_smaller_level_is_not_looked_at_and_says_so() -> None:
    with open_slide(fetch("isbi2012/raw/00.png")) as slide:
        small = slide.info.images[0]
        image = replace(small, levels=(SizePx(9000, 9000),))
        assert (is_looked_at(small), is_looked_at(image)) == (True, False)
        assert look_at(slide, image) == Look(
            not_looked_at="the image has more than 64 megapixels and no smaller level"
        )


def test_reading_asks_no_network_and_says_nothing() -> None:
    script = (
        "import socket\n"
        "def refuse(*_): raise OSError('no network here')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from ultraread.datasets.burnt_in.text import read_text\n"
        "import numpy as np\n"
        "read_text(np.zeros((40, 200), np.float32), 1.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


boxes = st.builds(BoxPx, *[st.integers(0, 10**6)] * 4)
texts = st.builds(BurntInText, boxes, st.text(max_size=20), st.floats(0, 1))
bars = st.builds(BurntInBar, boxes, SCALES_NM, st.none() | SCALES_NM, st.text(max_size=9), st.floats(1, 50))
looks = st.builds(
    Look,
    st.lists(texts, max_size=3).map(tuple),
    st.lists(bars, max_size=3).map(tuple),
    st.lists(boxes, max_size=3).map(tuple),
    st.sampled_from(["", "too large"]),
)


@given(looks)
def test_a_look_survives_its_json(look: Look) -> None:
    assert Look.from_json(look.as_json()) == look


def _holds(outer: BoxPx, inner: BoxPx) -> bool:
    across = outer.x <= inner.x and inner.right <= outer.right
    return across and outer.y <= inner.y and inner.bottom <= outer.bottom
