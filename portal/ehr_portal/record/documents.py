"""Documents of the record: which attachment can be shown how, and text made safe for a page.

A document is somebody else's content. Text, Markdown and HTML are shown in the page after nh3 has
taken out all that is no plain markup (scripts, styles, pictures from elsewhere); pictures and PDF
are served as files of their own; anything else is a download. An address outside the gateway is
never fetched.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from ehr_fhir import definitions
from ehr_fhir.errors import Forbidden, NotFound
from ehr_fhir.references import local_target
from ehr_portal.gateway.client import GatewayClient, Resource

# The beginnings of the picture files that browsers show: a file is what it begins with, whatever
# its record says. No SVG, which may hold a program.
_IMAGE_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
PDF = "application/pdf"
_PDF_BEGINNING = b"%PDF-"
_TEXT_TYPES = {
    "text/plain": "text",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
}
# Above this a text is a file to open: a page of a megabyte is slow on an old phone. Chosen.
MAX_SHOWN_TEXT = 300_000
# Structure and emphasis. No pictures, styles, classes or ids: nothing is fetched, nothing looks
# like a part of our page. Links go only to the web and to mail.
_TAGS = frozenset(
    "a abbr b blockquote br caption cite code col colgroup dd del div dl dt em h1 h2 h3 h4 h5 h6 "
    "hr i ins kbd li ol p pre q s samp small span strong sub sup table tbody td tfoot th thead "
    "tr u ul var".split()
)
_ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
_SCHEMES = {"http", "https", "mailto", "tel"}
# Their contents are no text.
_DROPPED_WITH_CONTENT = {"script", "style", "title"}
_HEADING = re.compile(r"<(/?)h([1-6])>")
# The page's own headings are h1 and h2.
_FIRST_HEADING = 3


@dataclass(frozen=True)
class Document:
    """One attachment as a page shows it."""

    # Its place among the attachments of the record, which is in its address.
    index: int
    title: str
    # text, markdown, html, image, pdf, file, or missing.
    kind: str
    # Set for the kinds that are shown as text in the page.
    markup: Markup | None = None
    size: int = 0
    created: str = ""


@dataclass(frozen=True)
class DocumentFile:
    """The bytes of an attachment, and the media type that they really have."""

    content: bytes
    media_type: str


def find_attachments(resource: Resource) -> list[Mapping[str, Any]]:
    """Return every Attachment of a resource, at any depth, in the order of the JSON."""
    return list(_attachments_in(resource, str(resource["resourceType"])))


async def load_documents(gateway: GatewayClient, resource: Resource) -> list[Document]:
    """Return the attachments of a record, with the text of those that are text."""
    documents = []
    for index, attachment in enumerate(find_attachments(resource)):
        file = await load_file(gateway, attachment)
        documents.append(_build_document(index, attachment, file))
    return documents


async def load_file(gateway: GatewayClient, attachment: Mapping[str, Any]) -> DocumentFile | None:
    """Return the bytes of an attachment; None where they are elsewhere or not for this reader."""
    data, declared = attachment.get("data"), str(attachment.get("contentType", ""))
    if data is None:
        target = local_target(str(attachment.get("url", "")))
        if target is None or target.type != "Binary":
            return None
        try:
            binary = await gateway.read("Binary", target.id)
        except (NotFound, Forbidden):
            return None
        data, declared = binary.get("data", ""), declared or str(binary.get("contentType", ""))
    try:
        content = base64.b64decode(data)
    except (binascii.Error, ValueError):
        return None
    return DocumentFile(content, _real_type(content, declared))


def render_text(content: bytes, media_type: str) -> Markup:
    """Return a text as safe markup, by its media type.

    >>> render_text(b"# Plan\\n<script>x</script> *rest*", "text/markdown")
    Markup('<h3>Plan</h3>\\n<p>&lt;script&gt;x&lt;/script&gt; <em>rest</em></p>\\n')
    """
    text = _decode(content, media_type)
    kind = _TEXT_TYPES.get(_essence(media_type), "text")
    if kind == "markdown":
        return clean_html(_create_markdown_parser().render(text))
    if kind == "html":
        return clean_html(text)
    return Markup('<pre class="ehr-document__text">{}</pre>').format(escape(text.strip()))


def clean_html(html: str) -> Markup:
    """Return the harmless part of HTML, its headings below those of the page.

    >>> clean_html('<h1 onclick="x">A</h1><img src="https://t.example/x"><script>x</script>')
    Markup('<h3>A</h3>')
    """
    cleaned = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=_SCHEMES,
        clean_content_tags=_DROPPED_WITH_CONTENT,
    )
    # nh3 has escaped all text and dropped every attribute of headings.
    return Markup(_HEADING.sub(_lower_heading, cleaned))  # noqa: S704


def _build_document(
    index: int, attachment: Mapping[str, Any], file: DocumentFile | None
) -> Document:
    title, created = str(attachment.get("title", "")), str(attachment.get("creation", ""))
    if file is None:
        return Document(index, title, "missing", created=created)
    size = len(file.content)
    essence = _essence(file.media_type)
    if essence in _TEXT_TYPES and size <= MAX_SHOWN_TEXT:
        markup = render_text(file.content, file.media_type)
        return Document(index, title, _TEXT_TYPES[essence], markup, size, created)
    kind = "image" if essence.startswith("image/") else "pdf" if essence == PDF else "file"
    return Document(index, title, kind, size=size, created=created)


def _real_type(content: bytes, declared: str) -> str:
    """Return the media type that the bytes have; a file's for what is not known."""
    for beginning, media_type in _IMAGE_BEGINNINGS:
        if content.startswith(beginning):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith(_PDF_BEGINNING):
        return PDF
    return declared if _essence(declared) in _TEXT_TYPES else "application/octet-stream"


def _attachments_in(node: Any, owner: str) -> Iterator[Mapping[str, Any]]:
    for key, value in node.items():
        element = definitions.json_elements(owner).get(key)
        if element is None:
            continue
        for part in value if isinstance(value, list) else [value]:
            if element.type == "Attachment" and isinstance(part, Mapping):
                yield part
            elif element.type in definitions.elements() and isinstance(part, Mapping):
                if element.type not in ("Extension", "Resource"):
                    yield from _attachments_in(part, element.type)


def _essence(media_type: str) -> str:
    """Return a media type without its parameters (RFC 9110 §8.3.1)."""
    return media_type.partition(";")[0].strip().lower()


def _decode(content: bytes, media_type: str) -> str:
    match = re.search(r"charset=[\"']?([\w.:-]{1,40})", media_type, re.IGNORECASE)
    try:
        charset = codecs.lookup(match[1]).name if match else "utf-8"
        return content.decode(charset, "replace")
    except (LookupError, UnicodeError):
        return content.decode("utf-8", "replace")


def _lower_heading(match: re.Match[str]) -> str:
    level = min(6, int(match[2]) + _FIRST_HEADING - 1)
    return f"<{match[1]}h{level}>"


@cache
def _create_markdown_parser() -> MarkdownIt:
    # CommonMark and tables; HTML in it is text, and no picture is fetched.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
