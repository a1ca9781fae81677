"""Public-key encryption of backups in the age format (C2SP age), by the library pyrage.

In the terms of age, a public key is a recipient and a private key an identity. The server has the
recipient alone, so it can write backups and not read them. The program `age` opens the same files.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pyrage.ssh
import pyrage.x25519

from ehr_fhir.errors import Invalid, NotFound, Unauthorized, Unprocessable
from ehr_gateway.private_file import create_private_file

__all__ = ["Identity", "Recipient", "make_identity", "open_sealed", "parse_recipients",
           "read_identity", "seal"]  # fmt: skip

# zlib's fastest level: database pages already shrink to about a third.
_COMPRESSION_LEVEL = 1


@dataclass(frozen=True)
class Recipient:
    """A public key, for encryption."""

    text: str
    # An object of pyrage, which has no type annotations.
    key: object


@dataclass(frozen=True)
class Identity:
    """A private key, for decryption."""

    key: object


def seal(content: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Compress and encrypt content; the result differs each time, by a random file key."""
    sealed: bytes = pyrage.encrypt(
        zlib.compress(content, _COMPRESSION_LEVEL), [recipient.key for recipient in recipients]
    )
    return sealed


def open_sealed(content: bytes, identity: Identity) -> bytes:
    """Decrypt and decompress content; raise Unauthorized if it was encrypted to another key."""
    try:
        return zlib.decompress(pyrage.decrypt(content, [identity.key]))
    except pyrage.DecryptError as error:
        raise Unauthorized(
            "The key does not open this backup: it was sealed to another."
        ) from error
    except zlib.error as error:
        raise Unprocessable("A sealed file of the backup does not hold what it should.") from error


def parse_recipients(text: str) -> tuple[Recipient, ...]:
    """Parse public keys, separated by commas: `age1...` or an SSH public key.

    >>> parse_recipients("age1nobody")
    Traceback (most recent call last):
    ehr_fhir.errors.Invalid: "age1nobody" is no public key: age1... or an SSH public key is one.
    """
    recipients: list[Recipient] = []
    for word in (part.strip() for part in text.split(",") if part.strip()):
        parser = pyrage.ssh.Recipient if word.startswith("ssh-") else pyrage.x25519.Recipient
        try:
            recipients.append(Recipient(word, parser.from_str(word)))
        except pyrage.RecipientError:
            text = f'"{word[:80]}" is no public key: age1... or an SSH public key is one.'
            raise Invalid(text) from None
    if not recipients:
        raise Invalid("Name the public key that backups are sealed to, `ehr backup key` makes one.")
    return tuple(recipients)


def read_identity(path: Path) -> Identity:
    """Read a private key from an age identity file, or an SSH private key without a passphrase."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"The key file {path} cannot be read.") from error
    try:
        if content.startswith(b"-----BEGIN"):
            return Identity(pyrage.ssh.Identity.from_buffer(content))
        lines = content.decode("ascii").splitlines()
        secret = next(line for line in lines if line.startswith("AGE-SECRET-KEY-"))
        return Identity(pyrage.x25519.Identity.from_str(secret.strip()))
    except (pyrage.IdentityError, UnicodeDecodeError, StopIteration):
        raise Invalid(f"The file {path} holds no private key of age.") from None


def make_identity(path: Path) -> str:
    """Generate a key pair: write the private key as `age-keygen` does, return the public key."""
    if path.exists():
        raise Invalid(f"There is a file {path} already: a key is never written over.")
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    create_private_file(path, f"# public key: {public}\n{identity}\n".encode())
    return public
