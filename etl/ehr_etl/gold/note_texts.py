"""Free text of a resource: notes, conclusions, documents in plain text or HTML, narratives."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NoteText", "list_note_texts"]

_BREAK = re.compile(r"(?i)<(?:br|/p|/div|/li|/tr|/h\d)\b[^>]*>")
_HIDDEN = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->")
_TAG = re.compile(r"(?s)<[^>]*>")
_TEXT_TYPES = ("text/plain", "text/markdown", "text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class NoteText:
    """A text of a resource and the FHIRPath of where it is."""

    element: str
    text: str


def list_note_texts(resource: Mapping[str, Any]) -> Iterator[NoteText]:
    """Yield the free texts that a project may be granted; of any other element none.

    >>> list(list_note_texts({"resourceType": "Observation", "note": [{"text": "Unsteady."}]}))
    [NoteText(element='Observation.note[0].text', text='Unsteady.')]
    """
    kind = str(resource.get("resourceType"))
    for element, text in _list_texts(kind, resource):
        if isinstance(text, str) and text.strip():
            yield NoteText(element, text)


def _list_texts(kind: str, resource: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for number, note in enumerate(_dicts(resource.get("note"))):
        yield f"{kind}.note[{number}].text", note.get("text")
    if kind == "DocumentReference":
        yield f"{kind}.description", resource.get("description")
        for number, content in enumerate(_dicts(resource.get("content"))):
            attachment = content.get("attachment")
            yield f"{kind}.content[{number}].attachment.data", _decode(attachment)
    elif kind == "DiagnosticReport":
        yield f"{kind}.conclusion", resource.get("conclusion")
        yield f"{kind}.text.div", _narrative(resource.get("text"))
        for number, form in enumerate(_dicts(resource.get("presentedForm"))):
            yield f"{kind}.presentedForm[{number}].data", _decode(form)
    elif kind == "Composition":
        yield from _list_sections(f"{kind}.section", resource.get("section"))


def _list_sections(path: str, sections: Any) -> Iterator[tuple[str, Any]]:
    for number, section in enumerate(_dicts(sections)):
        yield f"{path}[{number}].text.div", _narrative(section.get("text"))
        yield from _list_sections(f"{path}[{number}].section", section.get("section"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _narrative(narrative: Any) -> str | None:
    div = narrative.get("div") if isinstance(narrative, dict) else None
    return _strip_tags(div) if isinstance(div, str) else None


def _decode(attachment: Any) -> str | None:
    """Return the text of an attachment that is text; None of a picture, or of what is elsewhere."""
    if not isinstance(attachment, dict) or not isinstance(attachment.get("data"), str):
        return None
    media = str(attachment.get("contentType", "")).partition(";")[0].strip().lower()
    if media not in _TEXT_TYPES:
        return None
    try:
        text = base64.b64decode(attachment["data"], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _strip_tags(text) if "html" in media else text


def _strip_tags(markup: str) -> str:
    """Return the text of HTML; what a reader would not see may name somebody, and goes."""
    text = _TAG.sub("", _BREAK.sub("\n", _HIDDEN.sub("", markup)))
    return html.unescape(text)
