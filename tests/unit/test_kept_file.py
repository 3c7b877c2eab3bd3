"""The files of the inbox."""

import pytest
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from app.gateway.kept_file import file_meta

IMPLEMENTATION = (UID("1.2.826.0.1.3680043.9.1"), "SPONDYL")


@pytest.mark.parametrize("sender", ["PACS", "ARCHIVE"], ids=["even length", "odd length"])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"], ids=["odd length", "even length"])
def test_meta_information_is_byte_for_byte_what_pydicom_writes(sender: str, uid: str) -> None:
    """PS3.10 Table 7.1-1."""
    names = {"sop_class_uid": CTImageStorage, "transfer_syntax": ExplicitVRLittleEndian}
    expected = create_file_meta(
        **names,
        sop_instance_uid=UID(uid),
        implementation_uid=IMPLEMENTATION[0],
        implementation_version=IMPLEMENTATION[1],
    )
    expected.SourceApplicationEntityTitle = sender

    written = file_meta(**names, sop_instance_uid=uid, implementation=IMPLEMENTATION, sender=sender)

    assert written == b"DICM" + encode_file_meta(expected)
