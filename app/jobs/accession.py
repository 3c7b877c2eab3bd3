"""Keyed digests: how a job is found by an accession number, and a patient told from another, without keeping either.

An accession number leads to a patient, so neither queue nor log holds one. A job keeps a keyed digest of it instead:
who knows the number finds the job, and who reads the queue cannot go back by trying all numbers, for the key lies in
the storage folder, readable by its owner only.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress

from app.jobs.layout import PRIVATE_FILE, StorageLayout, sync_folder
from app.jobs.set_aside import set_aside

KEY_BYTES = 32
DIGEST_DIGITS = 32


def accession_key(layout: StorageLayout, accession_number: str) -> str:
    """Return what stands for an accession number on this storage folder; empty where there is none."""
    number = accession_number.strip(" ")
    return keyed_digest(layout, number) if number else ""


def keyed_digest(layout: StorageLayout, *parts: str) -> str:
    """Return 32 hexadecimal digits that stand for texts on this storage folder, and elsewhere for nothing."""
    text = "\x1f".join(parts).encode()
    return hmac.new(_key(layout), text, hashlib.sha256).hexdigest()[:DIGEST_DIGITS]


def _key(layout: StorageLayout) -> bytes:
    file = layout.root / "accession.key"
    key = b""
    with suppress(FileNotFoundError, IsADirectoryError):
        key = file.read_bytes()
    if len(key) != KEY_BYTES:
        set_aside(layout, file, "a key that is not one; earlier accession numbers lead to nothing")
        part = layout.root / f".accession.key.{os.getpid()}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as new:
            new.write(secrets.token_bytes(KEY_BYTES))
            new.flush()
            os.fsync(new.fileno())
        try:
            os.link(part, file)  # the first of several processes wins
        except FileExistsError:
            pass
        finally:
            part.unlink()
        sync_folder(layout.root)
        key = file.read_bytes()
    return key
