"""De-identification of free text by layers: what is known, forms with check digits, lexicons.

In: a note, what the store knows of its patient, family and staff, a key, the patient's date shift.
Out: the note with tokens for identifiers, dates moved; a project's tags for the lake's tokens.
May import: `ehr_fhir`. Presidio's analyzer is the frame, without a language model; loading this
package loads it (some seconds), so whoever scrubs no notes does not import it.
"""

from ehr_privacy.text.entities import ENTITY_TYPES, Entity
from ehr_privacy.text.known import KnownIdentifiers
from ehr_privacy.text.scrubber import NoteOwner, NoteScrubber, ScrubbedNote
from ehr_privacy.text.surrogates import render_tags

__all__ = [
    "ENTITY_TYPES",
    "Entity",
    "KnownIdentifiers",
    "NoteOwner",
    "NoteScrubber",
    "ScrubbedNote",
    "render_tags",
]
