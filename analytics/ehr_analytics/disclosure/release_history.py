"""Whom every released cell of the platform was about, for comparison with the next release.

Kept for all projects together, under a key of the platform's own: a project's key can be destroyed
and its releases still count. Persons are numbers; a keyed tag of the lake's pseudonym leads to the
number, and the sets of a release are sealed as one text. The erased lose their tag and leave the
sets; how many left a cell stays, since what was shown still counts them.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import io
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from ehr_analytics.disclosure.cells import EarlierCell
from ehr_analytics.disclosure.control import ControlledCell
from ehr_analytics.register import Register
from ehr_fhir.errors import Unavailable

__all__ = ["ReleaseHistory", "lock_releases"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
# Chosen: a person waits for it. A large release is checked in less.
_PATIENCE = 20.0
_SECONDS_BETWEEN_TRIES = 0.05


class ReleaseHistory:
    """The released cells of a data folder."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self._key = _open_key(register.data / "keys" / "releases.key")

    def number_persons(self, persons: Sequence[str]) -> NDArray[np.uint32]:
        """Return the numbers of persons, by their pseudonyms in the lake; new ones are added."""
        tags = [self._tag(person) for person in persons]
        with self.register.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO release_person(tag) VALUES (?)", [(tag,) for tag in tags]
            )
            rows = connection.execute("SELECT tag, number FROM release_person").fetchall()
        numbers = {bytes(row["tag"]): row["number"] for row in rows}
        return np.array([numbers[tag] for tag in tags], np.uint32)

    def read(self) -> list[EarlierCell]:
        """Return the cells of all releases."""
        with self.register.transaction() as connection:
            rows = connection.execute("SELECT run, sealed FROM release ORDER BY run").fetchall()
        return [cell for row in rows for cell in self._unseal(row["run"], bytes(row["sealed"]))]

    def add(
        self, run: str, cells: Sequence[ControlledCell], numbers: Mapping[str, int], policy: str
    ) -> None:
        """Keep the cells of a release by a policy.

        `numbers` are the platform's of the project's pseudonyms.
        """
        earlier = []
        for controlled in cells:
            cell = controlled.cell
            own = np.array([numbers[person] for person in cell.persons], np.uint32)
            order = np.argsort(own)
            amounts = None if cell.amounts is None else cell.amounts[order]
            earlier.append(
                EarlierCell(
                    run,
                    cell.statistic,
                    cell.unit,
                    own[order],
                    amounts,
                    controlled.shown,
                    policy=policy,
                )
            )
        self._write(run, earlier)

    def digest_persons(self, run: str) -> tuple[str | None, int]:
        """Return a keyed digest of the sets of a release, and how many places were erased since.

        None where no sets were kept: output of a study's own code. Without the key nobody can test
        whether somebody is in a set.
        """
        with self.register.transaction() as connection:
            row = connection.execute("SELECT sealed FROM release WHERE run = ?", (run,)).fetchone()
        if row is None:
            return None, 0
        cells = list(self._unseal(run, bytes(row["sealed"])))
        sets = [[cell.statistic, cell.unit, sorted(cell.persons.tolist())] for cell in cells]
        content = json.dumps([run, sets]).encode()
        digest = hmac.digest(self._key, b"persons of a release" + content, hashlib.sha256)
        return digest.hex(), sum(cell.erased for cell in cells)

    def forget(self, persons: Collection[str]) -> int:
        """Take erased persons out of every set; return how many were in some."""
        tags = [self._tag(person) for person in persons]
        with self.register.transaction() as connection:
            numbers = [
                row["number"]
                for tag in tags
                for row in connection.execute(
                    "SELECT number FROM release_person WHERE tag = ?", (tag,)
                )
            ]
            runs = [row["run"] for row in connection.execute("SELECT run FROM release")]
        if not numbers:
            return 0
        for run in runs:
            self._forget_in(run, np.array(numbers, np.uint32))
        with self.register.transaction() as connection:
            connection.executemany("DELETE FROM release_person WHERE tag = ?", [(t,) for t in tags])
        return len(numbers)

    def _forget_in(self, run: str, numbers: NDArray[np.uint32]) -> None:
        with self.register.transaction() as connection:
            row = connection.execute("SELECT sealed FROM release WHERE run = ?", (run,)).fetchone()
        changed = []
        for cell in self._unseal(run, bytes(row["sealed"])):
            stays = ~np.isin(cell.persons, numbers)
            changed.append(
                replace(
                    cell,
                    persons=cell.persons[stays],
                    amounts=None if cell.amounts is None else cell.amounts[stays],
                    erased=cell.erased + int((~stays).sum()),
                )
            )
        self._write(run, changed)

    def _write(self, run: str, cells: Sequence[EarlierCell]) -> None:
        sealed = self._seal(run, cells)
        with self.register.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO release VALUES (?, ?)", (run, sealed))

    def _tag(self, person: str) -> bytes:
        return hmac.digest(self._key, person.encode(), hashlib.sha256)

    def _seal(self, run: str, cells: Sequence[EarlierCell]) -> bytes:
        described = [
            [
                cell.statistic,
                cell.unit,
                cell.shown,
                cell.erased,
                cell.amounts is not None,
                cell.policy,
            ]
            for cell in cells
        ]
        out = io.BytesIO()
        np.savez_compressed(
            out,
            cells=np.frombuffer(json.dumps(described).encode(), np.uint8),
            sizes=np.array([len(cell.persons) for cell in cells], np.int64),
            persons=_join([cell.persons for cell in cells], np.uint32),
            amounts=_join([c.amounts for c in cells if c.amounts is not None], np.float64),
        )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, out.getvalue(), run.encode())

    def _unseal(self, run: str, sealed: bytes) -> Iterator[EarlierCell]:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        opened = AESGCM(self._key).decrypt(nonce, text, run.encode())
        with np.load(io.BytesIO(opened), allow_pickle=False) as arrays:
            described = json.loads(bytes(arrays["cells"]))
            sizes, persons, amounts = arrays["sizes"], arrays["persons"], arrays["amounts"]
        first = first_amount = 0
        # Releases of before the policy was kept have none.
        for (statistic, unit, shown, erased, has_amounts, *policy), size in zip(
            described, sizes.tolist(), strict=True
        ):
            own = None
            if has_amounts:
                own = amounts[first_amount : first_amount + size]
                first_amount += size
            yield EarlierCell(
                run, statistic, unit, persons[first : first + size], own, shown, erased, *policy
            )
            first += size


@contextmanager
def lock_releases(register: Register, patience: float = _PATIENCE) -> Iterator[None]:
    """Let one release at a time be compared with those before it.

    Unavailable where another one takes longer than `patience`, in seconds.
    """
    until = time.monotonic() + patience
    with (register.folder / "release.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Unavailable("Another release is being checked: try again.") from None
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield


def _join(arrays: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(arrays).astype(kind) if arrays else np.zeros(0, kind)


def _open_key(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Linked when whole: two processes that begin at once have one key.
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path.read_bytes()
