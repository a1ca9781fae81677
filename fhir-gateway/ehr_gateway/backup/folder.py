"""Backup folder: content-addressed encrypted pieces, and a signed manifest for each backup.

`pieces/ab/<name>` are shared by all backups in the folder. `backups/<name>/` has `manifest.json`,
its signature `manifest.note`, the encrypted `contents` and the `verifier.key` of the signature. It
gets its name last, by a rename, so an interrupted backup is never taken for a complete one.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ehr_fhir.errors import Conflict, NotFound, Unprocessable
from ehr_gateway.backup.manifest import Manifest, SealedFile
from ehr_gateway.backup.sealing import Recipient, seal
from ehr_privacy.audit import Signer, open_text, verifier_key

__all__ = [
    "BackupFolder",
    "BackupWriter",
    "StoredContent",
    "lock_folder",
    "open_writer",
    "sync_folder",
    "write_durably",
]

# The size of a piece before compression. Chosen: between two backups only a few pages of a database
# change, so small pieces repeat less of it; but each is a file, with about 200 bytes of age header.
PIECE_BYTES = 256 * 1024
_NOTE = "eHR Commons backup"


class BackupFolder:
    """A backup folder, for reading and pruning."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_names(self) -> list[str]:
        """List the names of the complete backups, oldest first."""
        names = (path.parent.name for path in self.path.glob("backups/*/manifest.json"))
        return sorted(name for name in names if not name.startswith("."))

    def read_manifest(self, name: str | None = None) -> Manifest:
        """Read the manifest of a backup, by default of the newest; NotFound if there is none."""
        names = self.list_names()
        if not names:
            raise NotFound(f"There is no complete backup in {self.path}.")
        if name is not None and name not in names:
            raise NotFound(f"There is no backup {name} in {self.path}.")
        manifest = Manifest.from_bytes(self._read_manifest_bytes(name or names[-1]))
        if manifest.name != (name or names[-1]):
            # Else an old backup, copied under a later name, would be restored as the newest.
            raise Unprocessable(
                f"The backup {name or names[-1]} is {manifest.name} under another name."
            )
        return manifest

    def backup_path(self, name: str) -> Path:
        """Return the path of a backup's own folder."""
        return self.path / "backups" / name

    def piece_path(self, piece: str) -> Path:
        """Return the path of a piece."""
        return self.path / "pieces" / piece[:2] / piece

    def check_signature(self, manifest: Manifest, key: tuple[str, bytes]) -> None:
        """Raise Unprocessable unless the manifest's signature verifies with a key."""
        note = self.backup_path(manifest.name) / "manifest.note"
        try:
            text = open_text(note.read_bytes(), *key)
        except FileNotFoundError:
            raise Unprocessable(f"The backup's file {note} is missing.") from None
        if text != _format_note(self._read_manifest_bytes(manifest.name)):
            raise Unprocessable(f"The backup's manifest {manifest.name} is not what was signed.")

    def read_verifier_key(self, name: str) -> str:
        """Read the verifier key that a backup comes with, which does not prove who made it."""
        return _read_file(self.backup_path(name) / "verifier.key").decode("utf-8", "replace")

    def read_contents(self, manifest: Manifest) -> bytes:
        """Read a backup's encrypted contents; raise Unprocessable unless the checksum matches."""
        return _read_intact(self.backup_path(manifest.name) / "contents", manifest.contents)

    def read_piece(self, manifest: Manifest, piece: str) -> bytes:
        """Read an encrypted piece; raise Unprocessable unless the checksum matches."""
        if piece not in manifest.pieces:
            raise Unprocessable(f"The backup's manifest {manifest.name} lacks the piece {piece}.")
        return _read_intact(self.piece_path(piece), manifest.pieces[piece])

    def verify(self, manifest: Manifest) -> None:
        """Verify all checksums of a backup; Unprocessable names the first damaged file."""
        self.read_contents(manifest)
        for piece in manifest.pieces:
            self.read_piece(manifest, piece)

    def prune(self, keep: int) -> int:
        """Delete all but the newest backups, and unused pieces; return how many backups."""
        names = self.list_names()
        outdated = names[: max(len(names) - keep, 0)]
        for name in outdated:
            # Renamed first: half deleted, it must not look like a complete backup.
            partial = self.backup_path(f".{name}.partial")
            self.backup_path(name).rename(partial)
            shutil.rmtree(partial)
        used_pieces = {
            piece for name in self.list_names() for piece in self.read_manifest(name).pieces
        }
        for path in self.path.glob("pieces/*/*"):
            if path.name not in used_pieces:
                path.unlink()
        return len(outdated)

    def _read_manifest_bytes(self, name: str) -> bytes:
        return _read_file(self.backup_path(name) / "manifest.json")


@dataclass(frozen=True)
class StoredContent:
    """The content of one file as it is stored: its pieces, in order."""

    pieces: tuple[str, ...]
    size: int
    # Of the whole content, in hexadecimal.
    sha256: str


@dataclass
class BackupWriter:
    """Writes one backup; the folder is locked meanwhile."""

    folder: BackupFolder
    recipients: Sequence[Recipient]
    # The HMAC key of piece names. With a plain hash, anybody could test whether a backup holds a
    # piece of known content.
    naming_key: bytes
    # The pieces of complete backups, which need not be written again, and those of this backup.
    stored_pieces: dict[str, SealedFile] = field(default_factory=dict)
    pieces: dict[str, SealedFile] = field(default_factory=dict)
    written_bytes: int = 0
    _unsynced: list[Path] = field(default_factory=list)

    def store_file(self, file: IO[bytes]) -> StoredContent:
        """Split a file into pieces and store those that the folder lacks."""
        names, size, digest = [], 0, hashlib.sha256()
        while content := _read_piece_content(file):
            names.append(self._store_piece(content))
            size += len(content)
            digest.update(content)
        return StoredContent(tuple(names), size, digest.hexdigest())

    def _store_piece(self, content: bytes) -> str:
        name = hmac.new(self.naming_key, content, hashlib.sha256).hexdigest()
        if name not in self.pieces:
            stored = self.stored_pieces.get(name)
            # An earlier backup's piece is used only if it is still intact on disk.
            if stored is None or not _is_intact(self.folder.piece_path(name), stored):
                stored = self._write_piece(name, seal(content, self.recipients))
            self.pieces[name] = stored
        return name

    def _write_piece(self, name: str, sealed: bytes) -> SealedFile:
        path = self.folder.piece_path(name)
        _write_partial(path, sealed).replace(path)
        # Synced in `commit`, all at once: no manifest refers to it before.
        self._unsynced.append(path)
        self.written_bytes += len(sealed)
        return SealedFile.of(sealed)

    def commit(
        self, *, name: str, at: str, contents: bytes, left_out: Sequence[str], signer: Signer
    ) -> Manifest:
        """Sign the manifest and give the backup its name; it is on disk when this returns."""
        self._sync_pieces()
        sealed = seal(contents, self.recipients)
        names = self.folder.list_names()
        last = _read_file(self.folder.backup_path(names[-1]) / "manifest.json") if names else b""
        manifest = Manifest(
            name,
            at,
            hashlib.sha256(last).hexdigest() if last else "",
            SealedFile.of(sealed),
            self.pieces,
            tuple(left_out),
        )
        partial = self.folder.path / "backups" / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        content = manifest.to_bytes()
        for file, body in (
            ("contents", sealed),
            ("manifest.json", content),
            ("manifest.note", signer.sign_text(_format_note(content))),
            ("verifier.key", f"{verifier_key(signer.name, signer.public)}\n".encode()),
        ):
            write_durably(partial / file, body)
        partial.rename(self.folder.backup_path(name))
        sync_folder(self.folder.path / "backups")
        return manifest

    def _sync_pieces(self) -> None:
        for path in self._unsynced:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for folder in {path.parent for path in self._unsynced}:
            sync_folder(folder)
        self._unsynced.clear()


@contextmanager
def lock_folder(path: Path) -> Iterator[BackupFolder]:
    """Lock a backup folder for a change; raise Conflict if another process has it locked."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (path / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another backup to {path} is under way.") from None
        yield BackupFolder(path)


@contextmanager
def open_writer(
    path: Path, recipients: Sequence[Recipient], naming_key: bytes
) -> Iterator[BackupWriter]:
    """Yield the writer of a new backup; raise Conflict if another process has the folder locked."""
    with lock_folder(path) as folder:
        for partial in path.glob("backups/.*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
        stored: dict[str, SealedFile] = {}
        sealed_to = ",".join(sorted(recipient.text for recipient in recipients))
        marker = path / "recipients"
        if marker.exists() and marker.read_text("utf-8") == sealed_to:
            for name in folder.list_names():
                stored.update(folder.read_manifest(name).pieces)
        else:
            # Earlier pieces are encrypted to other keys: the new ones do not open them.
            write_durably(marker, sealed_to.encode())
        yield BackupWriter(folder, recipients, naming_key, stored)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file atomically, by a rename; content and name are on disk when this returns."""
    partial = _write_partial(path, content)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def _write_partial(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.chmod(0o600)
    return partial


def sync_folder(path: Path) -> None:
    """Sync a folder, so that the names in it are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format_note(manifest: bytes) -> str:
    # A checkpoint's first line is the name of a log. This one is not, so that neither signature can
    # be passed off as the other.
    return f"{_NOTE}\n{hashlib.sha256(manifest).hexdigest()}\n"


def _read_piece_content(file: IO[bytes]) -> bytes:
    """Read until a piece is full or the file ends; a pipe returns less than asked for."""
    parts, size = [], 0
    while size < PIECE_BYTES and (part := file.read(PIECE_BYTES - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise Unprocessable(f"The backup's file {path} is missing.") from None


def _read_intact(path: Path, expected: SealedFile) -> bytes:
    content = _read_file(path)
    if SealedFile.of(content) != expected:
        raise Unprocessable(f"The backup's file {path} is damaged: it is not what was written.")
    return content


def _is_intact(path: Path, expected: SealedFile) -> bool:
    return path.exists() and SealedFile.of(path.read_bytes()) == expected
