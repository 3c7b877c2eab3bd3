"""Who receives results and what a receiver's answer means."""

import pytest

from app.delivery.destinations import Fate, fate_of_status, needed_profiles
from app.peer_settings import WebDestination
from app.settings import Destination


def destination(name: str, profile: str) -> Destination:
    """Return a destination that asks for a profile."""
    return Destination(name=name, ae_title="PACS", host="127.0.0.1", port=104, profile=profile)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0x0000, Fate.STORED),
        (0xB000, Fate.STORED),
        (0xB006, Fate.STORED),
        (0xB007, Fate.STORED),
        (0x0111, Fate.STORED),
        (0xA700, Fate.POSTPONED),
        (0xA7FF, Fate.POSTPONED),
        (0x0110, Fate.POSTPONED),
        (0xA900, Fate.REFUSED),
        (0xC000, Fate.REFUSED),
        (0xCFFF, Fate.REFUSED),
        (0x0122, Fate.REFUSED),
        (0x0124, Fate.DENIED),
        (0x7777, Fate.REFUSED),
    ],
)
def test_a_status_decides_whether_trying_again_makes_sense(status: int, fate: Fate) -> None:
    """PS3.4 Table B.2-1 and PS3.7 annex C: a warning is a success, a lack of resources passes."""
    assert fate_of_status(status)[0] is fate


def test_the_sentence_names_the_status() -> None:
    """The administrator of the receiver will ask for it."""
    assert "(0xA700)" in fate_of_status(0xA700)[1]


def test_each_encoding_is_made_once_however_many_destinations_ask_for_it() -> None:
    """The engine looks once and the writers run once per profile."""
    destinations = [destination("a", "ohif"), destination("b", "standard"), destination("c", "ohif")]

    assert needed_profiles(destinations) == ("ohif", "standard")


def test_where_label_maps_may_be_refused_the_standard_form_is_made_too() -> None:
    """A peer of C-STORE says so in its negotiation; STOW-RS has none."""
    web = WebDestination(name="web", kind="stow-rs", url="http://127.0.0.1:1/dicom-web", profile="ohif")

    assert needed_profiles([destination("a", "ohif")]) == ("ohif", "standard")
    assert needed_profiles([web]) == ("ohif",)


def test_without_a_destination_results_are_made_in_the_clean_standard_form() -> None:
    """They stay in the job's folder."""
    assert needed_profiles(()) == ("standard",)
