"""Keep one version of each resource of a load, and refuse dangling references over the whole load.

A resource that stands in the load again, the same, counts as unchanged. Of several versions of one
the latest is loaded: by `meta.lastUpdated` where both have it, else by a `meta.versionId` that is a
number, else by their order in the load.

A resource that refers to a refused one is refused too, and so on until nothing changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ehr_gateway.store.named_versions import from_current_versions
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.files import LoadReject
from ehr_inbound.bulk_files.prepare_worker import LoadCandidate, read_candidates
from ehr_inbound.bulk_files.scratch import Scratch

__all__ = ["ReferenceCheck"]

Identity = tuple[str, str]
_TARGETS_PER_STATEMENT = 250


class ReferenceCheck:
    """Collects the candidates of all units and refuses those that cannot be loaded."""

    def __init__(self, scratch: Scratch) -> None:
        self.rejects: list[LoadReject] = []
        # The file and the spool of each unit; by unit, the indexes of its refused candidates.
        self._units: list[tuple[str, Path]] = []
        self._refused: dict[int, set[int]] = {}
        # By file, how many of its candidates there are, refused ones too.
        self._candidates: Counter[str] = Counter()
        self._first_refusal = 0
        # Those that are not loaded since another one stands for them.
        self._skipped: dict[int, set[int]] = {}
        self.superseded = 0
        self._scratch = scratch

    @property
    def accepted(self) -> int:
        """Return how many resources are to be loaded."""
        return int(self._scratch.execute("SELECT COUNT(*) FROM place").fetchone()[0])

    @property
    def repeat_count(self) -> int:
        """Return how many resources stand in the load again, unchanged, and are loaded."""
        query = "SELECT COUNT(*) FROM repeat JOIN place USING (type, id)"
        return int(self._scratch.execute(query).fetchone()[0])

    def count_taken(self) -> Counter[str]:
        """Return by file how many of its resources are taken, repeats and older versions too."""
        refused = Counter(reject.file for reject in self.rejects[self._first_refusal :])
        return self._candidates - refused

    def units(self) -> Iterator[tuple[Path, Collection[int]]]:
        """Yield the spool of each unit with the indexes of the candidates not to be loaded."""
        for number, (_, spool) in enumerate(self._units):
            yield spool, self._refused.get(number, set()) | self._skipped.get(number, set())

    def add(self, file: str, spool: Path, candidates: Sequence[LoadCandidate]) -> None:
        """Add the candidates of a unit; of several with one id the latest is kept."""
        number = len(self._units)
        self._units.append((file, spool))
        self._candidates[file] += len(candidates)
        for index, candidate in enumerate(candidates):
            self._place(number, index, candidate)
        self._scratch.executemany(
            "INSERT INTO target VALUES (?, ?) ON CONFLICT DO NOTHING",
            {target for candidate in candidates for target in candidate.targets},
        )

    def close(self, store: Store) -> None:
        """Refuse erased patients, dangling references, then what refers to refused candidates."""
        self._first_refusal = len(self.rejects)
        self._refuse_erased(store)
        missing = set(self._targets_outside_load())
        missing -= set(_find_in_store(store, missing))
        while missing:
            missing = set(self._refuse_referring_to(missing))
        self._refuse_repeats()

    def _refuse_erased(self, store: Store) -> None:
        """Refuse patients who were erased: what the load has about them dangles then."""
        rows = self._scratch.execute("SELECT id FROM place WHERE type = 'Patient'").fetchall()
        with store.read_transaction() as connection:
            erased = {identity for (identity,) in rows if store.is_erased(connection, identity)}
        if not erased:
            return
        for number, (_, spool) in enumerate(self._units):
            for index, candidate in enumerate(read_candidates(spool)):
                if candidate.type == "Patient" and candidate.id in erased:
                    text = "This patient was erased; the id is not given again."
                    self._refuse(number, index, candidate, text)
        self._scratch.executemany(
            "DELETE FROM place WHERE type = 'Patient' AND id = ?",
            [(identity,) for identity in erased],
        )

    def _refuse_repeats(self) -> None:
        """Refuse what repeats a refused resource."""
        rows = self._scratch.execute(
            "SELECT type, id, unit, line FROM repeat WHERE (type, id) NOT IN"
            " (SELECT type, id FROM place)"
        )
        for kind, identity, unit, line in rows:
            text = "The same resource stands in the load before, and was refused."
            self.rejects.append(LoadReject(self._units[unit][0], line, kind, identity, text))

    def _place(self, number: int, index: int, candidate: LoadCandidate) -> None:
        """Give a candidate the place of its id, unless the one that has it is later or the same."""
        values = (number, index, candidate.digest, candidate.updated_ms, candidate.version)
        inserted = self._scratch.execute(
            "INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (candidate.type, candidate.id, *values),
        )
        if inserted.rowcount:
            return
        unit, position, digest, updated_ms, version = self._scratch.execute(
            "SELECT unit, position, digest, updated_ms, version FROM place"
            " WHERE type = ? AND id = ?",
            (candidate.type, candidate.id),
        ).fetchone()
        if digest == candidate.digest:
            self._skip(number, index)
            self._scratch.execute(
                "INSERT INTO repeat VALUES (?, ?, ?, ?)",
                (candidate.type, candidate.id, number, candidate.line),
            )
            return
        self.superseded += 1
        if _is_earlier(candidate, updated_ms, version):
            self._skip(number, index)
            return
        self._skip(unit, position)
        self._scratch.execute(
            "UPDATE place SET unit = ?, position = ?, digest = ?, updated_ms = ?, version = ?"
            " WHERE type = ? AND id = ?",
            (*values, candidate.type, candidate.id),
        )

    def _skip(self, number: int, index: int) -> None:
        self._skipped.setdefault(number, set()).add(index)

    def _targets_outside_load(self) -> Iterator[Identity]:
        yield from self._scratch.execute("SELECT * FROM target EXCEPT SELECT type, id FROM place")

    def _refuse_referring_to(self, missing: set[Identity]) -> Iterator[Identity]:
        """Refuse candidates that refer to something missing and yield them: now they are, too."""
        for number, (_, spool) in enumerate(self._units):
            for index, candidate in enumerate(read_candidates(spool)):
                named = candidate.targets & missing
                is_out = index in self._refused.get(number, ()) or index in self._skipped.get(
                    number, ()
                )
                if not named or is_out:
                    continue
                self._scratch.execute(
                    "DELETE FROM place WHERE type = ? AND id = ?", (candidate.type, candidate.id)
                )
                text = f"A dangling reference: it refers to a {min(named)[0]} that is neither"
                text += " in the set (or was refused) nor in the store."
                self._refuse(number, index, candidate, text)
                yield candidate.type, candidate.id

    def _refuse(self, number: int, index: int, candidate: LoadCandidate, reason: str) -> None:
        self._refused.setdefault(number, set()).add(index)
        file = self._units[number][0]
        self.rejects.append(LoadReject(file, candidate.line, candidate.type, candidate.id, reason))


def _is_earlier(candidate: LoadCandidate, updated_ms: int | None, version: int | None) -> bool:
    """Say whether a candidate is of an earlier version than the one met before it in the load."""
    if None not in (candidate.updated_ms, updated_ms) and candidate.updated_ms != updated_ms:
        return int(candidate.updated_ms or 0) < int(updated_ms or 0)
    if None not in (candidate.version, version):
        return int(candidate.version or 0) < int(version or 0)
    return False


def _find_in_store(store: Store, targets: Iterable[Identity]) -> Iterable[Identity]:
    remaining = iter(targets)
    with store.read_transaction() as connection:
        while batch := list(islice(remaining, _TARGETS_PER_STATEMENT)):
            named = from_current_versions(["(?, ?)"] * len(batch))
            rows = connection.execute(
                f"SELECT r.type, r.id {named} AND r.deleted = 0",
                [value for target in batch for value in target],
            )
            yield from [(row["type"], row["id"]) for row in rows]
