"""Send a folder of instances to a node or a PACS."""

from collections.abc import Callable
from pathlib import Path

from app.delivery.association import Peer
from app.delivery.instances import InstanceOutcome, read_instances
from app.delivery.storage_scu import store


def send_folder(
    folder: Path,
    host: str,
    port: int,
    *,
    calling: str,
    called: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[InstanceOutcome, ...]:
    """Send every DICOM instance below a folder by C-STORE, whatever the files are called.

    Args:
        folder: where to look, recursively; a single file is taken as it is.
        host: address of the receiver.
        port: port of the receiver.
        calling: AE title of the sender.
        called: AE title of the receiver.
        progress: told (done, total) after each instance.

    Returns:
        What became of each instance; empty where the folder holds none.
    """
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    instances = read_instances(files)
    done = 0

    def count(_outcome: InstanceOutcome) -> None:
        nonlocal done
        done += 1
        progress(done, len(instances))

    return store(instances, Peer(called, host, port), calling_ae_title=calling, on_outcome=count)
