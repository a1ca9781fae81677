"""Versions of models as signed folders: what serving, scoring and the portal read, without MLflow.

A version is written whole or not at all, and never changed. Its manifest names each file's SHA-256
and is signed (Ed25519) with a key of the platform's own, so that a file that somebody else wrote
is not loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ehr_etl.atomic_files import replace_file
from ehr_fhir.errors import Conflict, Fault, NotFound
from ehr_gateway.file_lock import open_locked
from ehr_gateway.private_file import create_private_file

__all__ = ["ModelStore", "ModelVersion"]

_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"
_WATCH = "watch.json"
_KEY_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a task's model: its files by name, as they were signed."""

    task: str
    number: int
    created_at: str
    digest: str
    files: Mapping[str, bytes]

    def read_text(self, name: str) -> str:
        """Return the text of a file; NotFound where the version has no such file."""
        if name not in self.files:
            raise NotFound(f"Version {self.number} of {self.task} has no {name}.")
        return self.files[name].decode()

    def read_json(self, name: str) -> Any:
        """Return the JSON of a file; NotFound where the version has no such file."""
        return json.loads(self.read_text(name))


class ModelStore:
    """The versions below the folder `models` of a data folder."""

    def __init__(self, data: Path) -> None:
        if not data.is_dir():
            raise NotFound(f"There is no data folder {data}.")
        self.data = data
        self.folder = data / "models"

    def save_version(self, task: str, files: Mapping[str, bytes], now: datetime) -> ModelVersion:
        """Write a new version with the next number, signed.

        Of two that are saved at once each gets a number of its own.
        """
        folder = self._versions(task)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            for name, content in files.items():
                _write_durably(partial / name, content)
            number = max(self.list_versions(task), default=0) + 1
            while True:
                manifest = _build_manifest(task, number, files, now)
                _write_durably(partial / _MANIFEST, manifest)
                signature = self._signing_key().sign(manifest)
                _write_durably(partial / _SIGNATURE, base64.b64encode(signature))
                try:
                    # A rename refuses to replace a folder that has files.
                    partial.rename(folder / str(number))
                    break
                except OSError:
                    if not (folder / str(number)).exists():
                        raise
                    number += 1
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return self.read_version(task, number)

    def list_versions(self, task: str) -> tuple[int, ...]:
        """Return the numbers of a task's versions, the oldest first."""
        folder = self._versions(task)
        if not folder.is_dir():
            return ()
        return tuple(sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()))

    def list_tasks(self) -> tuple[str, ...]:
        """Return the names of the tasks that have a version."""
        if not self.folder.is_dir():
            return ()
        names = (path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        return tuple(sorted(name for name in names if self.list_versions(name)))

    @contextmanager
    def lock_scoring(self, task: str) -> Iterator[None]:
        """Let nobody else score a task meanwhile, in this process or another; else Conflict.

        Of two at once the slower would write what the version before says over the other's.
        """
        folder = self._versions(task).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_locked(folder, os.O_RDONLY)
        if descriptor is None:
            raise Conflict(f"{task} is being scored already: wait until that is done.")
        try:
            yield
        finally:
            os.close(descriptor)

    def read_watch(self, task: str) -> list[dict[str, Any]]:
        """Return the weeks in which the model of a task was watched, as `save_watch` wrote them."""
        path = self.folder / task / _WATCH
        weeks: list[dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else []
        return weeks

    def save_watch(self, task: str, weeks: Sequence[Mapping[str, Any]]) -> None:
        """Keep what watching the model of a task found, in place of what was found before."""
        replace_file(self._versions(task).parent / _WATCH, json.dumps(weeks, indent=1).encode())

    def read_version(self, task: str, number: int) -> ModelVersion:
        """Return a version whose signature and files are those that were written.

        NotFound where there is none, Fault where anything of it was changed.
        """
        folder = self._find_folder(task, number)
        public = self._verifying_key()
        if not _is_signed(_read(folder, _MANIFEST), _read(folder, _SIGNATURE), public):
            raise Fault(f"Version {number} of the model {task} is not signed by us.")
        return self.read_unsigned(task, number)

    def read_unsigned(self, task: str, number: int) -> ModelVersion:
        """Return a version whoever signed it, for who is to sign it anew; Fault as above."""
        folder = self._find_folder(task, number)
        manifest = _read(folder, _MANIFEST)
        try:
            stated = json.loads(manifest)
        except ValueError as error:
            raise Fault(f"The manifest of version {number} of {task} is no JSON.") from error
        # A folder under another name would pass as that task's or that number's.
        is_intact = (stated["task"], stated["number"]) == (task, number)
        files = {name: _read(folder, name) for name in stated["files"]} if is_intact else {}
        if not is_intact or any(_hash(files[name]) != stated["files"][name] for name in files):
            raise Fault(f"The files of version {number} of the model {task} were changed.")
        return ModelVersion(task, number, stated["created_at"], _hash(manifest), files)

    def sign_version(self, task: str, number: int, key: Ed25519PrivateKey | None = None) -> None:
        """Put a signature beside those that a version has: by the platform's key, or another.

        The manifest stays, and so does what was decided on it.
        """
        folder = self._find_folder(task, number)
        manifest = _read(folder, _MANIFEST)
        made = base64.b64encode((key or self._signing_key()).sign(manifest))
        path = folder / _SIGNATURE
        known = _split_lines(path)
        replace_file(path, b"\n".join([*known, made]), is_durable=True)

    def drop_foreign_signatures(self, task: str, number: int) -> None:
        """Leave of a version's signatures the one by the platform's key; of others none."""
        folder = self._find_folder(task, number)
        manifest, public = _read(folder, _MANIFEST), self._verifying_key()
        path = folder / _SIGNATURE
        known = _split_lines(path)
        own = [one for one in known if _is_signed(manifest, one, public)][:1]
        if known != own:
            replace_file(path, b"\n".join(own), is_durable=True)

    def open_next_key(self) -> Ed25519PrivateKey:
        """Return the key that is to take the platform's place; one that a kill left is taken."""
        create_private_file(self._next_key_path(), os.urandom(_KEY_BYTES))
        return Ed25519PrivateKey.from_private_bytes(self._next_key_path().read_bytes())

    def drop_next_key(self) -> None:
        """Delete the key that a change which was killed left, if it left one."""
        self._next_key_path().unlink(missing_ok=True)

    def replace_key(self) -> None:
        """Put the next key in the place of the platform's."""
        self._next_key_path().replace(self._key_path())

    def read_fingerprint(self, task: str, number: int) -> tuple[object, ...]:
        """Return what changes when a file of a version, or the platform's key, is changed.

        It reads no file: who has read a version once asks so whether it is still that one.
        """
        folder = self._versions(task) / str(number)
        try:
            paths = [self._key_path(), *sorted(folder.iterdir())]
            stats = [(path.name, path.stat()) for path in paths]
        except FileNotFoundError:
            return ()
        return tuple(
            (name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in stats
        )

    def _find_folder(self, task: str, number: int) -> Path:
        folder = self._versions(task) / str(number)
        if not folder.is_dir():
            raise NotFound(f"There is no version {number} of the model {task}.")
        return folder

    def _versions(self, task: str) -> Path:
        if not _NAME.fullmatch(task):
            raise NotFound("There is no model of that name.")
        return self.folder / task / "versions"

    def _key_path(self) -> Path:
        return self.data / "keys" / "model.key"

    def _next_key_path(self) -> Path:
        return self.data / "keys" / "model-next.key"

    def _signing_key(self) -> Ed25519PrivateKey:
        create_private_file(self._key_path(), os.urandom(_KEY_BYTES))
        return Ed25519PrivateKey.from_private_bytes(self._key_path().read_bytes())

    def _verifying_key(self) -> Ed25519PublicKey:
        if not self._key_path().exists():
            raise Fault("The key that models are signed with is missing (keys/model.key).")
        return Ed25519PrivateKey.from_private_bytes(self._key_path().read_bytes()).public_key()


def _build_manifest(task: str, number: int, files: Mapping[str, bytes], now: datetime) -> bytes:
    stated = {
        "task": task,
        "number": number,
        "created_at": now.isoformat(timespec="seconds"),
        "files": {name: _hash(content) for name, content in sorted(files.items())},
    }
    return json.dumps(stated, indent=1).encode()


def _split_lines(path: Path) -> list[bytes]:
    content = path.read_bytes() if path.is_file() else b""
    return content.split(b"\n") if content else []


def _is_signed(manifest: bytes, signatures: bytes, public: Ed25519PublicKey) -> bool:
    """Say whether one of the lines is a signature of the manifest by a key."""
    for line in signatures.split(b"\n"):
        with suppress(InvalidSignature, ValueError):
            public.verify(base64.b64decode(line, validate=True), manifest)
            return True
    return False


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.parent != folder or not path.is_file():
        raise Fault(f"{name} of version {folder.name} is missing.")
    return path.read_bytes()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
