"""Who may send: rules of called title, calling title and address, in pure functions of the settings."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from app.peer_settings import AccessRule
from app.settings import Node


@dataclass(frozen=True)
class Rejection:
    """Why an association is rejected.

    diagnostic: reason of the A-ASSOCIATE-RJ of the service user (PS3.8 Table 9-21).
    sentence: the same in words.
    """

    diagnostic: int
    sentence: str


CALLING_TITLE = Rejection(0x03, "the calling AE title, from this address, is not in node.access")
CALLED_TITLE = Rejection(0x07, "the called AE title is not in node.access")


class Access:
    """The rules of one node.

    Args:
        node: its settings; without rules everybody may send under any called title.
    """

    def __init__(self, node: Node) -> None:
        self._rules = [(rule.called or node.ae_title, rule) for rule in node.access]

    def admits_address(self, host: str) -> bool:
        """Say whether any rule lets an address in; asked before a connection costs anything."""
        return not self._rules or any(_covers(rule, host) for _, rule in self._rules)

    def rejection(self, *, called: str, calling: str, host: str) -> Rejection | None:
        """Return why an association is to be rejected, or None where a rule lets it in.

        Args:
            called: title under which this node is called.
            calling: title of the sender.
            host: address of the sender.
        """
        if not self._rules:
            return None
        rules = [rule for title, rule in self._rules if title == called.strip()]
        if not rules:
            return CALLED_TITLE
        admitted = any(
            (not rule.calling_ae_titles or calling.strip() in rule.calling_ae_titles) and _covers(rule, host)
            for rule in rules
        )
        return None if admitted else CALLING_TITLE


def _covers(rule: AccessRule, host: str) -> bool:
    if not rule.addresses:
        return True
    address = _address(host)
    return any(address.version == network.version and address in network for network in rule.addresses)


def _address(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.partition("%")[0])
    # a listener for both protocols shows IPv4 peers in this form
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
