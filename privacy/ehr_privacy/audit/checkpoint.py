"""Signed checkpoints: size and root of the log at an instant, as C2SP's tlog-checkpoint has it.

The form is a signed note: three lines of text, an empty line, and one line for each signature.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ehr_fhir.errors import Invalid
from ehr_privacy.audit.tree import HASH_BYTES

__all__ = ["Checkpoint", "Signer", "open_note", "open_text", "public_key", "verifier_key"]

_ED25519 = b"\x01"
_DASH = "\u2014 "
# Chosen: room for the signatures of hundreds of witnesses.
_MAX_NOTE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """What was signed: which log, how many leaves, their root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Signer:
    """Signs checkpoints under one name."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.name = name

    @property
    def public(self) -> bytes:
        """Return the public key."""
        return self._key.public_key().public_bytes_raw()

    def note(self, size: int, root: bytes) -> bytes:
        """Return a signed checkpoint."""
        return self.sign_text(Checkpoint(self.name, size, root).text)

    def sign_text(self, text: str) -> bytes:
        """Return a signed note of any text; it ends with a line feed, and has no empty line."""
        signature = _key_hash(self.name, self.public) + self._key.sign(text.encode())
        line = f"{_DASH}{self.name} {base64.b64encode(signature).decode()}\n"
        return f"{text}\n{line}".encode()


def verifier_key(name: str, public: bytes) -> str:
    """Return the key in the form that witnesses are configured with."""
    encoded = base64.b64encode(_ED25519 + public).decode()
    return f"{name}+{_key_hash(name, public).hex()}+{encoded}"


def public_key(key: str) -> tuple[str, bytes]:
    """Return name and public key of a verifier key; Invalid when it is none."""
    try:
        name, hashed, encoded = key.strip().split("+", 2)
        decoded = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Invalid("This is no verifier key: name+hash+key.") from error
    public = decoded[1:]
    if decoded[:1] != _ED25519 or len(public) != 32 or _key_hash(name, public).hex() != hashed:
        raise Invalid("This is no verifier key of the kind Ed25519.")
    return name, public


def open_note(note: bytes, name: str, public: bytes) -> Checkpoint:
    """Return what a note says when the key's owner signed it; Invalid with the reason when not."""
    try:
        text = note[:_MAX_NOTE_BYTES].decode().partition("\n\n")[0]
        origin, size, root = f"{text}\n".split("\n")[:3]
        found = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except (UnicodeDecodeError, ValueError, binascii.Error) as error:
        raise Invalid("The checkpoint is malformed.") from error
    if str(found.size) != size or found.size < 0 or len(found.root) != HASH_BYTES:
        raise Invalid("The checkpoint is malformed.")
    if origin != name:
        raise Invalid("The checkpoint is of another log.")
    open_text(note, name, public)
    return found


def open_text(note: bytes, name: str, public: bytes) -> str:
    """Return the text of a signed note of the key's owner; Invalid when it is not theirs."""
    try:
        text, _, signatures = note[:_MAX_NOTE_BYTES].decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise Invalid("The checkpoint is malformed.") from error
    wanted = _key_hash(name, public)
    for line in signatures.splitlines():
        signer, _, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or signer != name:
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
            if signature[:4] != wanted:
                continue
            key = Ed25519PublicKey.from_public_bytes(public)
            key.verify(signature[4:], f"{text}\n".encode())
        except (InvalidSignature, binascii.Error, ValueError):
            break
        return f"{text}\n"
    raise Invalid("The checkpoint is not signed by this log's key: it is forged or damaged.")


def _key_hash(name: str, public: bytes) -> bytes:
    # C2SP signed-note: the name, a line feed, the kind of key, the key.
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]
