"""Policies: what is stated, what a service allows, what a refusal tells."""

import pytest

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.identity.found import (
    NOTHING_FOUND,
    Identity,
    IdentityItem,
    IdentityKind,
    IdentityPolicy,
)
from ultraread.datasets.identity.policy import (
    MOST_PLACES,
    STRIP_BY_DEFAULT,
    IdentityStatement,
    identity_stated,
    stricter_or_reasoned,
    under,
)
from ultraread.errors import IdentityPresent, RequestInvalid

FOUND = Identity(
    (
        IdentityItem("tag Artist", IdentityKind.OPERATOR, value="Doe"),
        IdentityItem("pixels", IdentityKind.TEXT, 0, BoxPx(1, 2, 3, 4), "Doe"),
    )
)
KEEP, STRIP, REFUSE = IdentityPolicy.KEEP, IdentityPolicy.STRIP, IdentityPolicy.REFUSE


def test_keeping_needs_a_reason() -> None:
    with pytest.raises(RequestInvalid):
        identity_stated(KEEP, "  ")
    assert identity_stated(KEEP, "a phantom").reason == "a phantom"
    assert identity_stated(None, "") is STRIP_BY_DEFAULT


def test_a_refusal_names_the_places_never_what_stands_there() -> None:
    with pytest.raises(IdentityPresent) as refused:
        under(FOUND, IdentityStatement(REFUSE))
    assert refused.value.what == "identity was found in tag Artist, pixels"
    assert "Doe" not in f"{refused.value} {refused.value.problem()}"
    assert under(NOTHING_FOUND, IdentityStatement(REFUSE)).found == ()


def test_pixels_that_were_not_searched_are_refused_as_well() -> None:
    with pytest.raises(IdentityPresent, match="pixels of image 2, not searched"):
        under(Identity(not_searched=(2,)), IdentityStatement(REFUSE))


def test_a_refusal_stays_readable_where_much_is_found() -> None:
    many = Identity(tuple(IdentityItem(f"tag number {n}", IdentityKind.TEXT) for n in range(MOST_PLACES + 3)))
    with pytest.raises(IdentityPresent, match="and 3 more"):
        under(many, IdentityStatement(REFUSE))


@pytest.mark.parametrize("of_service", [STRIP, REFUSE])
def test_a_slide_may_be_less_strict_than_its_service_only_with_a_reason(of_service: IdentityPolicy) -> None:
    assert stricter_or_reasoned(of_service, STRIP_BY_DEFAULT).policy is of_service
    with pytest.raises(RequestInvalid):
        stricter_or_reasoned(REFUSE, IdentityStatement(STRIP, is_stated=True))
    stated = IdentityStatement(KEEP, "a phantom", is_stated=True)
    assert stricter_or_reasoned(of_service, stated) is stated
    assert stricter_or_reasoned(KEEP, IdentityStatement(REFUSE, is_stated=True)).policy is REFUSE


def test_a_service_that_keeps_identity_says_so_as_the_reason() -> None:
    kept = stricter_or_reasoned(KEEP, STRIP_BY_DEFAULT)
    assert (kept.policy, bool(kept.reason)) == (KEEP, True)


def test_kept_pixels_are_not_masked() -> None:
    assert under(FOUND, STRIP_BY_DEFAULT).masks(0) == (BoxPx(1, 2, 3, 4),)
    assert under(FOUND, IdentityStatement(KEEP, "a phantom")).masks(0) == ()
