"""What single settings may hold: titles, ports, folders."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AE_TITLE_LENGTH = 16  # PS3.5 section 6.2


def _ae_title(value: str) -> str:
    """Check an Application Entity Title (VR AE)."""
    title = value.strip(" ")
    if not title or len(title) > AE_TITLE_LENGTH:
        raise ValueError(f"an AE title has 1 to 16 characters, not {len(title)}")
    if "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title is printable ASCII without a backslash")
    return title


AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^\S+$")]
PeerPort = Annotated[int, Field(ge=1, le=65535)]
OwnPort = Annotated[int, Field(ge=0, le=65535)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
File = Folder


class Frozen(BaseModel):
    """A part of the settings: immutable, and an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")
