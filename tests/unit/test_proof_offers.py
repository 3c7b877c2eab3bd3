"""What a destination offers as proof is told apart from whether it is there."""

from pathlib import Path

from app.delivery.association import Peer
from app.delivery.commitment import offers_of
from app.delivery.receiver import Receiver


def test_a_destination_that_offers_no_proof_is_not_taken_for_one_that_is_away(tmp_path: Path) -> None:
    """It accepts the association, and nothing that was proposed for a proof."""
    with Receiver(tmp_path) as receiver:
        peer = Peer(receiver.ae_title, "127.0.0.1", receiver.port)

        assert offers_of(peer, calling_ae_title="SPONDYL") == ()
