"""Notes without identifiers: what the recognisers find becomes a surrogate, dates too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from presidio_analyzer import EntityRecognizer

from ehr_privacy.text.ages import OLDEST_AGE_CLASS
from ehr_privacy.text.dates import shift_date
from ehr_privacy.text.entities import Entity, merge_entities
from ehr_privacy.text.folding import fold_characters, squeeze_text
from ehr_privacy.text.known import KnownIdentifiers
from ehr_privacy.text.presidio import KnownRecognizer, analyze_note, build_analyzer
from ehr_privacy.text.surrogates import (
    make_date_token,
    make_plain_token,
    make_token,
    strip_token_marks,
)

__all__ = ["NoteOwner", "NoteScrubber", "ScrubbedNote"]

# What a person's entity is called by who they are; by the resource type of the key.
_ROLES = {"Patient": "PATIENT", "RelatedPerson": "FAMILY", "Practitioner": "STAFF"}


@dataclass(frozen=True)
class NoteOwner:
    """Whose notes they are, what is known of them and their family, and their dates' shift."""

    patient: str
    known: KnownRecognizer | None
    shift_days: int | None

    @classmethod
    def of(cls, patient: str, known: KnownIdentifiers | None, shift_days: int | None) -> NoteOwner:
        """Return the owner with what is known as a recogniser, made once for all their notes."""
        return cls(patient, None if known is None else KnownRecognizer(known), shift_days)


@dataclass(frozen=True)
class ScrubbedNote:
    """A text with the lake's tokens, and what was found in the original."""

    text: str
    entities: tuple[Entity, ...]


class NoteScrubber:
    """Scrubs notes under one key. `shared` is what is known of staff and organisations.

    `models` are optional recognisers of Presidio, such as a language model's; what they find is
    added to what the layers find.
    """

    def __init__(
        self,
        key: bytes,
        shared: KnownIdentifiers | None = None,
        models: Sequence[EntityRecognizer] = (),
    ) -> None:
        if len(key) < 32:
            raise ValueError("the key of a de-identification has at least 32 bytes")
        self._key = key
        self._shared = () if shared is None else (KnownRecognizer(shared),)
        self._analyzer = build_analyzer(models)

    def find(self, text: str, owner: NoteOwner) -> list[Entity]:
        """Return the identifiers of a text, none overlapping."""
        known = self._shared if owner.known is None else (owner.known, *self._shared)
        return merge_entities(analyze_note(self._analyzer, text, known))

    def scrub(self, text: str, owner: NoteOwner) -> ScrubbedNote:
        """Return a text without its identifiers."""
        text = strip_token_marks(text)
        entities = self.find(text, owner)
        return ScrubbedNote(self._replace(text, entities, owner), tuple(entities))

    def _replace(self, text: str, entities: Iterable[Entity], owner: NoteOwner) -> str:
        parts, at = [], 0
        for entity in entities:
            parts += [text[at : entity.start], self._surrogate(text, entity, owner)]
            at = entity.end
        return "".join([*parts, text[at:]])

    def _surrogate(self, text: str, entity: Entity, owner: NoteOwner) -> str:
        found = text[entity.start : entity.end]
        if entity.type == "AGE":
            return OLDEST_AGE_CLASS
        if entity.type == "DATE":
            moved = None if owner.shift_days is None else shift_date(found, owner.shift_days)
            return make_plain_token("DATE") if moved is None else make_date_token(moved)
        named = _name_role(entity)
        identity = entity.key or squeeze_text(fold_characters(found)).text
        return make_token(self._key, named.type, owner.patient, identity)


def _name_role(entity: Entity) -> Entity:
    """Call a known person by who they are."""
    if entity.type != "PERSON" or not entity.key:
        return entity
    kind, _, rest = entity.key.partition("/")
    # A contact of the patient's own record is family or a friend.
    role = "FAMILY" if "#" in rest else _ROLES.get(kind, "PERSON")
    return replace(entity, type=role)
