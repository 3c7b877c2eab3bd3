"""A Storage SCP that keeps what it is sent in a folder: the demonstration's own little archive."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pynetdicom.transport import ThreadedAssociationServer


@dataclass
class Receiver:
    """Listens on this machine while it is entered as a context; port 0 takes any free port.

    folder: where the instances go, as `<Study Instance UID>/<SOP Instance UID>.dcm`.
    ae_title: its own title.
    port: where it listens, known once it is entered.
    counts: SOP Instance UID → how often it has come.
    """

    folder: Path
    ae_title: str = "RECEIVER"
    port: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Self:
        """Start to listen."""
        entity = AE(ae_title=self.ae_title)
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        address = ("127.0.0.1", self.port)
        self._server = entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)])
        self.port = int(self._server.server_address[1]) if self._server is not None else 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()

    def wait_until(self, condition: Callable[[dict[str, int]], bool], timeout_s: float) -> bool:
        """Wait until what has come meets a condition; return whether it does.

        Args:
            condition: asked with `counts` after each instance.
            timeout_s: how long to wait at most.
        """
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.counts), timeout_s)

    def _keep(self, event: Event) -> int:
        header = event.dataset
        folder = self.folder / str(header.StudyInstanceUID)
        folder.mkdir(parents=True, exist_ok=True)
        uid = str(header.SOPInstanceUID)
        (folder / f"{uid}.dcm").write_bytes(event.encoded_dataset())
        with self._changed:
            self.counts[uid] = self.counts.get(uid, 0) + 1
            self._changed.notify_all()
        return 0x0000
