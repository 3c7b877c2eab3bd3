"""The SOP classes of results: which of them a destination takes, and in which encoding it gets the results then."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from app.delivery.association import associate, why_not
from app.delivery.channels import peer_of
from app.delivery.commitment import PeerAway
from app.peer_settings import Destination, WebDestination

Profile = Literal["standard", "ohif"]

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # PS3.6 2024d; pydicom has no name for it yet
_NAMES: Mapping[UID, str] = MappingProxyType({LABEL_MAP_SEGMENTATION_STORAGE: "Label Map Segmentation Storage"})
_BESIDE_SEGMENTATIONS = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
RESULT_CLASSES: Mapping[Profile, tuple[UID, ...]] = MappingProxyType(
    {
        "standard": (SegmentationStorage, *_BESIDE_SEGMENTATIONS),
        "ohif": (LABEL_MAP_SEGMENTATION_STORAGE, *_BESIDE_SEGMENTATIONS),
    }
)


def refused_classes(destination: Destination, *, calling_ae_title: str) -> tuple[UID, ...]:
    """Return which SOP classes of its profile's results a destination accepts in no uncompressed transfer syntax.

    BINARY Segmentations are asked for too where the profile is `ohif`, since they can take the label map's place.

    Raises:
        PeerAway: it cannot be asked.
        TlsUnusable: a certificate or key of this node cannot be used.
    """
    wanted = dict.fromkeys((*RESULT_CLASSES[destination.profile], SegmentationStorage))
    contexts = [build_context(each, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for each in wanted]
    peer = peer_of(destination)
    # With Verification: else a peer that takes none of the others would look like one that is away.
    association = associate(peer, [*contexts, build_context(Verification)], calling_ae_title=calling_ae_title)
    if not association.is_established:
        raise PeerAway(why_not(association, peer))
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    association.release()
    return tuple(each for each in wanted if each not in accepted)


def profile_at(destination: Destination | WebDestination, *, calling_ae_title: str) -> tuple[Profile, str]:
    """Return the encoding that a destination gets, and a sentence where it is not the one of the settings.

    Raises:
        PeerAway: it cannot be asked.
        TlsUnusable: a certificate or key of this node cannot be used.
    """
    if isinstance(destination, WebDestination) or destination.profile != "ohif":
        return destination.profile, ""
    refused = refused_classes(destination, calling_ae_title=calling_ae_title)
    if needs_binary(refused):
        return "standard", binary_instead(destination)
    return "ohif", ""


def needs_binary(refused: tuple[UID, ...]) -> bool:
    """Say whether label maps are refused where BINARY Segmentations are taken."""
    return LABEL_MAP_SEGMENTATION_STORAGE in refused and SegmentationStorage not in refused


def binary_instead(destination: Destination) -> str:
    """Return the sentence of a destination that takes BINARY Segmentations alone."""
    return f"{destination.ae_title} refuses {class_name(LABEL_MAP_SEGMENTATION_STORAGE)}: the BINARY form goes instead"


def class_name(sop_class: UID) -> str:
    """Return the name of a SOP class as PS3.6 has it."""
    return _NAMES.get(sop_class, sop_class.name)
