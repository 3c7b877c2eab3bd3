"""Transfer syntaxes of the Storage SCP: taken where they can be decoded, chosen for what they keep."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts

from app.gateway.transfer_syntaxes import DEFLATED_IMAGE_FRAME, NATIVE, SEGMENTATIONS, accepted_for, preferred

CR = "1.2.840.10008.5.1.4.1.1.1"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
LOSSY, LOSSLESS, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"
JPEG_XL, HEVC, MPEG2 = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.100"


def test_every_compressed_syntax_that_is_taken_has_its_decoder_here() -> None:
    """For every Storage SOP Class; a Segmentation's frames alone are never decoded."""
    for context in AllStoragePresentationContexts:
        for uid in accepted_for(str(context.abstract_syntax)):
            is_left_alone = uid == DEFLATED_IMAGE_FRAME and context.abstract_syntax in SEGMENTATIONS
            assert uid in NATIVE or is_left_alone or get_decoder(uid).is_available


@pytest.mark.parametrize("syntax", [JPEG_XL, HEVC, MPEG2, str(DEFLATED_IMAGE_FRAME)])
def test_an_image_that_nothing_decodes_is_not_taken(syntax: str) -> None:
    """The sender learns it at once and may send it otherwise; 0x0000 and a failed job would be too late."""
    assert syntax not in accepted_for(CR)


def test_other_objects_come_in_what_their_makers_use() -> None:
    """A Segmentation may come in deflated frames, a report in any of the native syntaxes."""
    assert DEFLATED_IMAGE_FRAME in accepted_for(SEG)
    assert set(NATIVE) < set(accepted_for(SR))


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ((IMPLICIT, EXPLICIT), EXPLICIT),
        ((IMPLICIT, J2K), J2K),
        ((J2K, EXPLICIT, IMPLICIT), J2K),
        ((EXPLICIT, J2K, IMPLICIT), EXPLICIT),
        ((IMPLICIT, LOSSY, EXPLICIT), EXPLICIT),
        ((LOSSY, LOSSLESS), LOSSLESS),
        ((IMPLICIT, LOSSY), LOSSY),
        ((BIG, IMPLICIT), BIG),
        ((BIG, IMPLICIT, EXPLICIT), EXPLICIT),
        ((JPEG_XL, IMPLICIT), IMPLICIT),
        ((JPEG_XL,), None),
        (("1.2.3",), None),
    ],
)
def test_what_keeps_most_is_chosen_whatever_the_order(proposed: Sequence[str], chosen: str | None) -> None:
    """PS3.8 section 9.3.3.2: the acceptor chooses."""
    assert preferred([UID(uid) for uid in proposed], accepted_for(CR)) == chosen


def test_the_conformance_statement_lists_what_is_taken(repository: Path) -> None:
    """PS3.2: an administrator reads there what to send."""
    text = (repository / "docs" / "conformance.md").read_text("utf-8")
    listed = re.findall(r"^\| [^|]+ \| (1\.2\.840\.10008\.1\.2[0-9.]*) \| ([^|]+) \|$", text, re.MULTILINE)

    assert {uid for uid, classes in listed if classes == "every"} == set(accepted_for(CR))
    assert {uid for uid, classes in listed if classes != "every"} == set(accepted_for(SEG)) - set(accepted_for(CR))
