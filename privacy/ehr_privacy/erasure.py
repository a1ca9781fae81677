"""Erasure of a patient: the keyed hash that outlives them, and what else of a record names them.

Store and lake keep no list of names of erased people: each is known by an HMAC under a key of the
installation. Which records an erasure takes is one rule, the same in both (`choose_versions`).
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = [
    "ERASED",
    "ErasedVersions",
    "VersionPatients",
    "alias_records",
    "choose_versions",
    "cut_references",
    "hash_patient",
    "list_strings",
    "rename_erased",
    "walk_strings",
]

# What stands where another's record named somebody who was erased.
ERASED = "Erased record"
# Shorter texts are codes and units; a search for them would find everybody's.
_SHORTEST_TEXT = 6


def hash_patient(key: bytes, patient: str) -> str:
    """Return by what an erased patient is known: HMAC-SHA256 of their id, in hexadecimal.

    >>> hash_patient(b"k" * 32, "a") == hash_patient(b"k" * 32, "a") != hash_patient(b"k", "a")
    True
    """
    return hmac.digest(key, f"erased Patient/{patient}".encode(), "sha256").hex()


@dataclass(frozen=True)
class VersionPatients:
    """Of one version of a resource: its number, and the patients that it is about."""

    type: str
    id: str
    version: int
    patients: frozenset[str]


@dataclass
class ErasedVersions:
    """What an erasure takes: whole records, and single versions of others' records."""

    records: set[tuple[str, str]] = field(default_factory=set)
    versions: set[tuple[str, str, int]] = field(default_factory=set)
    # How many of the records are about somebody else as well.
    shared: int = 0

    def takes(self, resource_type: str, resource_id: str, version: int | None) -> bool:
        """Say whether a version is erased."""
        return (resource_type, resource_id) in self.records or (
            resource_type,
            resource_id,
            version,
        ) in self.versions


def choose_versions(
    versions: Iterable[VersionPatients], accounts: Collection[str]
) -> ErasedVersions:
    """Return what an erasure of some patients takes.

    A record whose newest version is about one of them goes whole, also where it is about somebody
    else as well: what it says of one cannot be told from what it says of the other. Of a record
    that was theirs only once (it was moved to another patient) those versions go that were.

    >>> moved = [VersionPatients("Observation", "o", 1, frozenset({"a"})),
    ...     VersionPatients("Observation", "o", 2, frozenset({"b"}))]
    >>> choose_versions(moved, {"a"}).versions, choose_versions(moved, {"b"}).records
    ({('Observation', 'o', 1)}, {('Observation', 'o')})
    """
    about = frozenset(accounts)
    newest: dict[tuple[str, str], VersionPatients] = {}
    concerned: set[tuple[str, str, int]] = set()
    for version in versions:
        key = (version.type, version.id)
        if key not in newest or version.version >= newest[key].version:
            newest[key] = version
        if version.patients & about or (version.type == "Patient" and version.id in about):
            concerned.add((*key, version.version))
    found = ErasedVersions()
    for kind, identity, number in concerned:
        last = newest[kind, identity]
        if (kind, identity, last.version) in concerned:
            found.records.add((kind, identity))
        else:
            found.versions.add((kind, identity, number))
    found.shared = sum(1 for key in found.records if newest[key].patients - about)
    return found


def cut_references(
    node: Any,
    targets: Collection[str],
    aliases: Mapping[str, str] = MappingProxyType({}),
    *,
    is_in_rule: bool = False,
) -> int:
    """Replace references to erased records within another's record; return how many there were.

    `targets` are `Type/id`. A reference goes whole, with the name that it may have as its display.
    In a Consent an alias takes its place: a rule has to name what it closes.

    >>> link = {"other": {"reference": "Patient/a/_history/2", "display": "Chan"}}
    >>> cut_references(link, {"Patient/a"}), link
    (1, {'other': {'display': 'Erased record'}})
    """
    if isinstance(node, list):
        return sum(cut_references(item, targets, aliases, is_in_rule=is_in_rule) for item in node)
    if not isinstance(node, dict):
        return 0
    is_in_rule = is_in_rule or node.get("resourceType") == "Consent"
    reference = node.get("reference")
    if isinstance(reference, str) and (name := _local_name(reference)) in targets:
        node.clear()
        node["display"] = ERASED
        if is_in_rule and name in aliases:
            node["reference"] = f"{name.partition('/')[0]}/{aliases[name]}"
        return 1
    return sum(
        cut_references(item, targets, aliases, is_in_rule=is_in_rule) for item in node.values()
    )


def _local_name(reference: str) -> str:
    return "/".join(reference.split("/_history/")[0].split("/")[-2:])


def alias_records(key: bytes, names: Iterable[str]) -> dict[str, str]:
    """Return by `Type/id` what stands for erased records in what is decided about others' records.

    A rule may close the records of an episode, and the episode may be an erased one: the records
    stay closed, since rule and records have the same other name.
    """
    return {
        name: f"erased-{hmac.digest(key, f'erased record {name}'.encode(), 'sha256').hex()[:32]}"
        for name in names
    }


def rename_erased(row: dict[str, Any], aliases: Mapping[str, str]) -> bool:
    """Put aliases for erased records into a row of facts or of rules; return whether any was there.

    >>> facts = {"episodes": "|a|b|", "patients": ["a"]}
    >>> rename_erased(facts, {"Encounter/a": "erased-1"}), facts
    (True, {'episodes': '|erased-1|b|', 'patients': ['a']})
    >>> rule = {"record_type": "Condition", "record_id": "c", "episode": None}
    >>> rename_erased(rule, {"Condition/c": "erased-2"}), rule["record_id"]
    (True, 'erased-2')
    """
    changed = {}
    for name in ("episodes", "added_episodes"):
        if isinstance(text := row.get(name), str):
            names = text.split("|")
            changed[name] = "|".join(aliases.get(f"Encounter/{name}", name) for name in names)
    for name, kind in (("episode", "Encounter"), ("record_id", row.get("record_type"))):
        if isinstance(identity := row.get(name), str):
            changed[name] = aliases.get(f"{kind}/{identity}", identity)
    before = {name: row[name] for name in changed}
    row.update(changed)
    return before != changed


def list_strings(content: Any) -> set[str]:
    """Return the texts of a resource that may tell of somebody: all but short ones.

    Words of a text are listed too, as an index keeps them: without accents and in lower case.
    """
    found: set[str] = set()
    for text in walk_strings(content):
        if len(text) >= _SHORTEST_TEXT:
            found.add(text)
        for word in _split_words(text):
            if len(word) > _SHORTEST_TEXT:
                found.add(word)
    return found


def walk_strings(node: Any) -> Iterator[str]:
    """Yield every string within parsed JSON, without the names of members."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for item in node.values():
            yield from walk_strings(item)
    elif isinstance(node, list):
        for item in node:
            yield from walk_strings(item)


def _split_words(text: str) -> Iterator[str]:
    folded = unicodedata.normalize("NFKD", text).casefold()
    word = ""
    for character in folded:
        if unicodedata.combining(character):
            continue
        if character.isalnum():
            word += character
        elif word:
            yield word
            word = ""
    if word:
        yield word
