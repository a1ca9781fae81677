"""How well identifiers were found in notes: recall by type, precision, terms that came through."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ehr_privacy.text import Entity, KnownIdentifiers, NoteOwner, NoteScrubber
from tests.lib.note_corpus import Note

__all__ = ["NoteScores", "score_notes"]

_SHIFT = 7
_LABEL = re.compile(r"Ward|[Bb]ed(?: no)?|床號")


@dataclass
class NoteScores:
    """Counts over a corpus; `missed` and `wrong` are examples of what went wrong."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    terms: int = 0
    kept_terms: int = 0
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)
    lost_terms: list[tuple[str, str]] = field(default_factory=list)

    def recall(self) -> dict[str, float]:
        """Return by type which share of the planted identifiers is covered whole."""
        return {kind: self.found[kind] / count for kind, count in sorted(self.planted.items())}

    @property
    def precision(self) -> float:
        """Return which share of what was taken out overlaps by half with an identifier."""
        return sum(self.right.values()) / sum(self.predicted.values())

    @property
    def survival(self) -> float:
        """Return which share of the clinical terms came through unchanged."""
        return self.kept_terms / self.terms


def score_notes(notes: Iterable[Note], key: bytes = b"k" * 32) -> NoteScores:
    """Scrub notes, each with what the store knows of its people, and count."""
    scores = NoteScores()
    scrubber = NoteScrubber(key)
    for note in notes:
        owner = NoteOwner.of("p1", KnownIdentifiers({**note.own, **note.staff}), _SHIFT)
        scrubbed = scrubber.scrub(note.text, owner)
        _count(scores, note, scrubbed.entities)
        for term in note.terms:
            scores.terms += 1
            if term in scrubbed.text:
                scores.kept_terms += 1
            else:
                scores.lost_terms.append((term, scrubbed.text))
    return scores


def _count(scores: NoteScores, note: Note, entities: Iterable[Entity]) -> None:
    listed = list(entities)
    covered = {at for entity in listed for at in range(entity.start, entity.end)}
    meant = {at for planted in note.planted for at in range(planted.start, planted.end)}
    for planted in note.planted:
        kinds = [planted.type]
        if planted.type == "PERSON":
            kinds.append("PERSON, known" if planted.is_known else "PERSON, unknown")
        value = note.text[planted.start : planted.end]
        is_found = all(
            at in covered
            for at in range(planted.start, planted.end)
            if note.text[at].isalnum() and at not in _title_offsets(value, planted.start)
        )
        for kind in kinds:
            scores.planted[kind] += 1
            scores.found[kind] += is_found
        if not is_found:
            context = note.text[max(0, planted.start - 20) : planted.end + 12]
            scores.missed.append((planted.type, value, context))
    for entity in listed:
        letters = [at for at in range(entity.start, entity.end) if note.text[at].isalnum()]
        is_right = 2 * sum(at in meant for at in letters) >= len(letters)
        scores.predicted[entity.type] += 1
        scores.right[entity.type] += is_right
        if not is_right:
            context = note.text[max(0, entity.start - 15) : entity.end + 15]
            scores.wrong.append((entity.type, note.text[entity.start : entity.end], context))


def _title_offsets(value: str, start: int) -> set[int]:
    """Return where a title is that was planted with a name, or a label with a number.

    Mr, 先生, Bed tell of nobody.
    """
    labels = {start + at for found in _LABEL.finditer(value) for at in range(*found.span())}
    if labels:
        return labels
    for title in ("Mr.", "Mr", "Mrs", "Ms", "先生", "女士", "婆婆", "伯伯", "醫生"):
        if value.startswith(f"{title} "):
            return set(range(start, start + len(title)))
        if value.endswith(title):
            end = start + len(value)
            return set(range(end - len(title), end))
    return set()
