"""Instances as the Storage SCP hands them to the inbox, made from data sets."""

from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import FileDataset

from app.gateway.inbox import PREAMBLE_LENGTH, ReceivedInstance

META_STARTS_AT = 144
META_LENGTH_AT = 140


def received(dataset: FileDataset, *, sop_class_uid: str = "", sop_instance_uid: str = "") -> ReceivedInstance:
    """Return a data set as it arrives; the request names its own UIDs unless others are given."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    whole = buffer.getvalue()
    border = META_STARTS_AT + int.from_bytes(whole[META_LENGTH_AT:META_STARTS_AT], "little")
    return ReceivedInstance(
        sop_class_uid=sop_class_uid or str(dataset.SOPClassUID),
        sop_instance_uid=sop_instance_uid or str(dataset.SOPInstanceUID),
        transfer_syntax=dataset.file_meta.TransferSyntaxUID,
        calling_ae_title="PACS",
        meta=whole[PREAMBLE_LENGTH:border],
        data_set=whole[border:],
    )
