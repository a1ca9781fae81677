"""A gateway in memory for tests of the lake: its feed tells what the real one would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from ehr_etl.change_feed.epoch import FeedEpoch
from ehr_fhir.errors import Conflict
from ehr_privacy.consent import record_facts, record_to_json
from ehr_privacy.erasure import (
    VersionPatients,
    alias_records,
    choose_versions,
    cut_references,
    hash_patient,
    rename_erased,
)
from tests.lib.feed_lines import decision_lines, feed_line

Key = tuple[str, str]


@dataclass
class FakeStore:
    """Versions in the order of writing, labels that third parties added, changed decisions."""

    versions: list[tuple[dict[str, Any], int, str]] = field(default_factory=list)
    newest: dict[Key, int] = field(default_factory=dict)
    labels: dict[Key, set[str]] = field(default_factory=dict)
    marks: dict[tuple[str, str, str], int] = field(default_factory=dict)
    # What stewards decided of versions of a record.
    judged: dict[Key, dict[int, str]] = field(default_factory=dict)
    # What stands for erased records, and the episodes of versions that named one.
    aliases: dict[str, str] = field(default_factory=dict)
    renamed: dict[tuple[str, str, int], str] = field(default_factory=dict)
    number: int = 0
    # Positions of versions that were erased.
    erased: set[int] = field(default_factory=set)
    # Whether every page is sent again, from the beginning.
    is_repeating: bool = False
    # The present epoch, and of earlier ones the last position and decision that are still there.
    epoch: int = 0
    past: dict[int, tuple[int, int]] = field(default_factory=dict)

    def put(self, resource: Mapping[str, Any], method: str = "PUT") -> int:
        """Write a version; return its position."""
        key = (resource["resourceType"], resource["id"])
        before = self._rules()
        self.newest[key] = self.newest.get(key, 0) + 1
        # The author's next version ends what third parties said.
        self.labels.pop(key, None)
        self.versions.append((deepcopy(dict(resource)), self.newest[key], method))
        after = self._rules()
        for patient in before.keys() | after.keys():
            if before.get(patient) != after.get(patient):
                self._mark("rules", "Patient", patient)
        return len(self.versions)

    def delete(self, resource: Mapping[str, Any]) -> int:
        """Write a deletion."""
        return self.put(resource, "DELETE")

    def add_label(self, key: Key, label: str) -> None:
        """Let a third party close a record by a label."""
        if key in self.newest:
            self.labels.setdefault(key, set()).add(label)
            self._mark("facts", *key)

    def back_up(self) -> FakeStore:
        """Return a copy of the store as it is."""
        return deepcopy(self)

    def restore(self, backup: FakeStore) -> None:
        """Put the store back to a copy; what was read since is no part of its past."""
        last = (len(backup.versions), backup.number)
        past = {**self.past, self.epoch: (len(self.versions), self.number)}
        self.past = {
            epoch: (min(position, last[0]), min(number, last[1]))
            for epoch, (position, number) in past.items()
        }
        self.epoch += 1
        copied = deepcopy(backup)
        self.versions, self.newest = copied.versions, copied.newest
        self.labels, self.marks, self.number = copied.labels, copied.marks, copied.number
        self.judged = copied.judged

    def open_epoch(self, after: int, decisions: int, epoch: str) -> FeedEpoch:
        """Return the present epoch; Conflict when a place is not of the store's past."""
        here = (len(self.versions), self.number)
        positions, numbers = here if epoch in ("", str(self.epoch)) else self.past[int(epoch)]
        if after > positions or decisions > numbers:
            raise Conflict("The gateway's store does not have all that was read from it before.")
        return FeedEpoch("store", str(self.epoch))

    def at_epoch(self, epoch: str) -> FakeStore:
        """Return the same source."""
        return self

    def judge(self, key: Key, version: int, decision: str) -> None:
        """Let a steward decide about a version; nothing for one that is not the newest."""
        if self.newest.get(key) == version:
            self.judged.setdefault(key, {})[version] = decision
            self._mark("quality", *key)

    def erase(self, patient: str, key: bytes) -> None:
        """Erase a patient as the gateway does: versions, rules, and references of others."""
        listed = [
            VersionPatients(one["resourceType"], one["id"], number,
                            record_facts(one, "ha-harbour").patients)
            for one, number, _ in self.versions
        ]  # fmt: skip
        taken = choose_versions(listed, {patient})
        targets = {f"{kind}/{identity}" for kind, identity in taken.records}
        targets.add(f"Patient/{patient}")
        self.aliases |= alias_records(key, targets)
        before = self._rules()
        for position, (one, number, _) in enumerate(self.versions, 1):
            if taken.takes(one["resourceType"], one["id"], number):
                self.erased.add(position)
            else:
                stated = record_to_json(record_facts(one, "ha-harbour")).get("episodes")
                facts = {"episodes": stated}
                if rename_erased(facts, self.aliases):
                    self.renamed[one["resourceType"], one["id"], number] = str(facts["episodes"])
                cut_references(one, targets, self.aliases)
        for mark in list(self.marks):
            if mark[1:] in taken.records or mark[2] == patient:
                del self.marks[mark]
        after = self._rules()
        for other in before.keys() | after.keys():
            if other != patient and before.get(other) != after.get(other):
                self._mark("rules", "Patient", other)
        self._mark("erasure", "Patient", hash_patient(key, patient))
        # A deletion marker about nobody keeps the positions rising.
        self.put({"resourceType": "Basic", "id": f"erasure-{self.number}"}, "DELETE")

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield the feed after a place."""
        if self.is_repeating:
            after = decisions = 0
        lines = [
            self._version_line(position)
            for position in range(after + 1, len(self.versions) + 1)
            if position not in self.erased
        ]
        lines += [
            self._decision_line(number, *mark)
            for mark, number in sorted(self.marks.items(), key=lambda item: item[1])
            if number > decisions
        ]
        half = len(lines) // 2
        for part in (lines[:half], lines[half:]):
            if part:
                yield b"\n".join(part) + b"\n"

    def _mark(self, kind: str, resource_type: str, resource_id: str) -> None:
        self.number += 1
        self.marks[kind, resource_type, resource_id] = self.number

    def _current(self) -> dict[Key, tuple[dict[str, Any], int, str]]:
        return {
            (one["resourceType"], one["id"]): (one, number, method)
            for position, (one, number, method) in enumerate(self.versions, 1)
            if position not in self.erased
        }

    def _rules(self) -> dict[str, Any]:
        present = [one for one, _, method in self._current().values() if method != "DELETE"]
        told = [json.loads(line) for line in decision_lines(present)]
        return {line["id"]: line["rules"] for line in told if line["rules"]}

    def _version_line(self, position: int) -> bytes:
        resource, version, method = self.versions[position - 1]
        key = (resource["resourceType"], resource["id"])
        line = json.loads(feed_line(position, resource, version=version, method=method))
        if version == self.newest[key]:
            line["facts"] = self._facts(key)
        return json.dumps(line).encode()

    def _decision_line(self, number: int, kind: str, resource_type: str, resource_id: str) -> bytes:
        line: dict[str, Any] = {"decision": number, "type": resource_type}
        if kind == "erasure":
            return json.dumps({**line, "erased": resource_id}).encode()
        line["id"] = resource_id
        if kind == "rules":
            line["rules"] = self._rules().get(resource_id, [])
        elif kind == "quality":
            line["quality"] = [
                {"version": version, "decision": decision}
                for version, decision in self.judged[resource_type, resource_id].items()
            ]
        else:
            key = (resource_type, resource_id)
            line |= {"version": self.newest[key], "author": "ha-harbour",
                     "facts": self._facts(key)}  # fmt: skip
        return json.dumps(line).encode()

    def _facts(self, key: Key) -> dict[str, Any]:
        resource, number, _ = self._current()[key]
        facts = dict(record_to_json(record_facts(resource, "ha-harbour")))
        if (*key, number) in self.renamed:
            facts["episodes"] = self.renamed[*key, number]
        added = sorted(self.labels.get(key, ()))
        return {**facts, "labels": sorted({*facts["labels"], *added}), "added_labels": added}
