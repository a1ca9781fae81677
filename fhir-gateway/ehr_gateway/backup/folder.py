"""Folder of backups: pieces named by their content, and a manifest for each complete backup.

`pieces/ab/<name>` are shared by all backups of the folder; `backups/<name>/` holds `manifest.json`,
its signature `manifest.note`, the sealed `contents` and the `verifier.key`. That folder is put in
place last, by a rename: a backup that was interrupted is not there.
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
    "lock_folder",
    "open_writer",
    "sync_folder",
    "write_durably",
]

# Chosen: a write changes a few pages of 2 KiB here and there, so small pieces save room; each
# costs a file, and some 200 bytes of age's header.
PIECE_BYTES = 256 * 1024
_NOTE = "eHR Commons backup"


class BackupFolder:
    """A folder of backups, read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of the complete backups, oldest first."""
        names = (path.parent.name for path in self.path.glob("backups/*/manifest.json"))
        return sorted(name for name in names if not name.startswith("."))

    def manifest(self, name: str | None = None) -> Manifest:
        """Return the manifest of a backup, of the newest one unless named."""
        names = self.names()
        if not names:
            raise NotFound(f"There is no complete backup in {self.path}.")
        if name is not None and name not in names:
            raise NotFound(f"There is no backup {name} in {self.path}.")
        return Manifest.from_bytes(self._read_manifest(name or names[-1]))

    def backup_path(self, name: str) -> Path:
        """Return the folder of one backup."""
        return self.path / "backups" / name

    def piece_path(self, piece: str) -> Path:
        """Return where a piece lies."""
        return self.path / "pieces" / piece[:2] / piece

    def check_signature(self, manifest: Manifest, key: tuple[str, bytes]) -> None:
        """Raise Unprocessable unless the manifest was signed by the owner of a verifier key."""
        note = self.backup_path(manifest.name) / "manifest.note"
        try:
            text = open_text(note.read_bytes(), *key)
        except FileNotFoundError:
            raise Unprocessable(f"The backup's file {note} is missing.") from None
        if text != _format_note(self._read_manifest(manifest.name)):
            raise Unprocessable(f"The backup's manifest {manifest.name} is not what was signed.")

    def read_verifier_key(self, name: str) -> str:
        """Return the verifier key that a backup was written with."""
        return _read_file(self.backup_path(name) / "verifier.key").decode("utf-8", "replace")

    def read_contents(self, manifest: Manifest) -> bytes:
        """Return the sealed contents of a backup, as the manifest has them."""
        return _read_intact(self.backup_path(manifest.name) / "contents", manifest.contents)

    def read_piece(self, manifest: Manifest, piece: str) -> bytes:
        """Return a sealed piece, as the manifest has it."""
        if piece not in manifest.pieces:
            raise Unprocessable(f"The backup's manifest {manifest.name} lacks the piece {piece}.")
        return _read_intact(self.piece_path(piece), manifest.pieces[piece])

    def verify(self, manifest: Manifest) -> None:
        """Read every file of a backup; Unprocessable names the first that is not as it was."""
        self.read_contents(manifest)
        for piece in manifest.pieces:
            self.read_piece(manifest, piece)

    def prune(self, keep: int) -> int:
        """Remove all backups but the newest ones, and the pieces of no backup; return how many."""
        names = self.names()
        outdated = names[: max(len(names) - keep, 0)]
        for name in outdated:
            # First the name, in one step: what is left of it is no backup.
            removed = self.backup_path(f".{name}.partial")
            self.backup_path(name).rename(removed)
            shutil.rmtree(removed)
        used = {piece for name in self.names() for piece in self.manifest(name).pieces}
        for path in self.path.glob("pieces/*/*"):
            if path.name not in used:
                path.unlink()
        return len(outdated)

    def _read_manifest(self, name: str) -> bytes:
        return _read_file(self.backup_path(name) / "manifest.json")


@dataclass
class BackupWriter:
    """A backup in the making; the folder is locked while it lasts."""

    folder: BackupFolder
    recipients: Sequence[Recipient]
    # Names pieces: without it nobody can tell from a name what the content is.
    naming_key: bytes
    # Pieces of complete backups, which are on disk, and those of this one.
    known: dict[str, SealedFile] = field(default_factory=dict)
    pieces: dict[str, SealedFile] = field(default_factory=dict)
    written_bytes: int = 0
    _unsynced: list[Path] = field(default_factory=list)

    def store(self, file: IO[bytes]) -> tuple[tuple[str, ...], int, str]:
        """Store what a file holds; return the names of its pieces, its size and its SHA-256."""
        names, size, digest = [], 0, hashlib.sha256()
        while content := _read_piece_content(file):
            names.append(self._store_piece(content))
            size += len(content)
            digest.update(content)
        return tuple(names), size, digest.hexdigest()

    def _store_piece(self, content: bytes) -> str:
        name = hmac.new(self.naming_key, content, hashlib.sha256).hexdigest()
        if name not in self.pieces:
            known = self.known.get(name)
            # A piece that has rotted is written anew: a backup is whole when it says so.
            if known is None or not _is_intact(self.folder.piece_path(name), known):
                known = self._write_piece(name, seal(content, self.recipients))
            self.pieces[name] = known
        return name

    def _write_piece(self, name: str, sealed: bytes) -> SealedFile:
        path = self.folder.piece_path(name)
        _write_partial(path, sealed).replace(path)
        # On disk before the manifest, not one by one: a piece in no manifest is never relied on.
        self._unsynced.append(path)
        self.written_bytes += len(sealed)
        return SealedFile.of(sealed)

    def commit(
        self, *, name: str, at: str, contents: bytes, left_out: Sequence[str], signer: Signer
    ) -> Manifest:
        """Put the backup in place, signed; it is on disk when this returns."""
        self._sync_pieces()
        sealed = seal(contents, self.recipients)
        names = self.folder.names()
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
    """Lend a folder of backups to be changed; Conflict while another is at it."""
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
    """Lend a writer of one more backup to a folder; Conflict while another is at it."""
    with lock_folder(path) as folder:
        for left in path.glob("backups/.*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        known: dict[str, SealedFile] = {}
        sealed_to = ",".join(sorted(recipient.text for recipient in recipients))
        marker = path / "recipients"
        if marker.exists() and marker.read_text("utf-8") == sealed_to:
            for name in folder.names():
                known.update(folder.manifest(name).pieces)
        else:
            # Sealed to another key than before: pieces of earlier backups are of no use to it.
            write_durably(marker, sealed_to.encode())
        yield BackupWriter(folder, recipients, naming_key, known)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file beside, put it in place, and have both on disk."""
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
    """Return when the names in a folder are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format_note(manifest: bytes) -> str:
    # Its first line is the name of no log, so that no checkpoint reads as one.
    return f"{_NOTE}\n{hashlib.sha256(manifest).hexdigest()}\n"


def _read_piece_content(file: IO[bytes]) -> bytes:
    """Read a whole piece, less at the end; a pipe gives less at a time."""
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
