"""Who may send: rules of called title, calling title and address."""

import pytest

from app.gateway.access import CALLED_TITLE, CALLING_TITLE, Access, Rejection
from app.settings import Node

RULES = Node.model_validate(
    {
        "ae_title": "SPONDYL",
        "access": [
            {"calling_ae_titles": ["PACS", "ARCHIVE"], "addresses": ["10.1.0.0/16", "fd00::/8"]},
            {"called": "RESEARCH", "calling_ae_titles": ["LAB"]},
            {"called": "OPEN", "addresses": ["192.168.7.9"]},
        ],
    }
)


@pytest.mark.parametrize(
    ("called", "calling", "host", "rejection"),
    [
        ("SPONDYL", "PACS", "10.1.2.3", None),
        ("SPONDYL ", " ARCHIVE", "10.1.255.255", None),
        ("SPONDYL", "PACS", "::ffff:10.1.2.3", None),
        ("SPONDYL", "PACS", "fd12::1%eth0", None),
        ("SPONDYL", "PACS", "10.2.0.1", CALLING_TITLE),
        ("SPONDYL", "pacs", "10.1.2.3", CALLING_TITLE),
        ("SPONDYL", "LAB", "10.1.2.3", CALLING_TITLE),
        ("RESEARCH", "LAB", "172.16.0.1", None),
        ("RESEARCH", "PACS", "10.1.2.3", CALLING_TITLE),
        ("OPEN", "ANYBODY", "192.168.7.9", None),
        ("OPEN", "ANYBODY", "192.168.7.8", CALLING_TITLE),
        ("OTHER", "PACS", "10.1.2.3", CALLED_TITLE),
    ],
)
def test_an_association_is_let_in_by_a_rule_of_its_called_title(
    called: str, calling: str, host: str, rejection: Rejection | None
) -> None:
    """Title and address have to be met by one and the same rule; titles are compared without padding."""
    assert Access(RULES).rejection(called=called, calling=calling, host=host) == rejection


def test_an_address_that_no_rule_covers_gets_no_connection() -> None:
    """Before a title is known; a rule without addresses covers all of them."""
    strict = Access(RULES.model_copy(update={"access": RULES.access[:1]}))

    assert strict.admits_address("10.1.2.3")
    assert not strict.admits_address("10.2.0.1")
    assert Access(RULES).admits_address("10.2.0.1")


def test_without_rules_everybody_is_let_in() -> None:
    """The default of a node on loopback."""
    assert Access(Node()).admits_address("8.8.8.8")
    assert Access(Node()).rejection(called="ANY", calling="BODY", host="8.8.8.8") is None
