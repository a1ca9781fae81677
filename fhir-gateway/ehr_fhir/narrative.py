"""The XHTML of a narrative (R4 §2.4.0): invariants txt-1 and txt-2, by an allow-list.

Parsed as XML by expat, which is strict, and judged element by element. What a browser reads in
another way than an XML parser is refused too (CDATA sections, processing instructions, comments
that hold markup): a page that shows a narrative may parse it as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from string import ascii_letters, digits

# No document type can stand before the root element, so no entity can be declared and expanded.
from xml.parsers import expat

__all__ = ["find_narrative_fault"]

_XHTML = "http://www.w3.org/1999/xhtml"
# Chapters 7 to 11 (without 9.4) and 15 of HTML 4.0, links and images: the elements of txt-1, and
# the others of these chapters that HL7's own validator takes.
_ELEMENTS = frozenset(
    "a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd dfn div "
    "dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li map ol p pre q samp small span strong sub sup "
    "table tbody td tfoot th thead tr tt ul var".split()
)
# `idref` is not HTML 4.0's: narratives made from CDA point with it to what they tell, and it does
# nothing.
_ATTRIBUTES = frozenset(
    "title style class id lang xml:lang xml:space dir accesskey tabindex span width height align "
    "valign char charoff abbr axis headers scope rowspan colspan idref idRef".split()
)
_ATTRIBUTES_OF: Mapping[str, frozenset[str]] = {
    "a": frozenset("name href charset type hreflang rel rev shape coords".split()),
    "area": frozenset("shape coords href nohref alt".split()),
    "blockquote": frozenset({"cite"}),
    "col": frozenset({"span"}),
    "img": frozenset("src alt longdesc border usemap ismap".split()),
    "map": frozenset({"name"}),
    "q": frozenset({"cite"}),
    "table": frozenset("summary border frame rules cellspacing cellpadding".split()),
    "td": frozenset({"nowrap"}),
    "th": frozenset({"nowrap"}),
}
_ADDRESSES = frozenset({"href", "src", "cite", "longdesc", "usemap"})
# A browser drops these from an address before it looks for the scheme.
_IGNORED_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_SCHEMES = frozenset({"http", "https", "mailto", "tel", "sms", "fax", "ftp", "ftps", "urn", "cid"})
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpeg|jpg|gif|webp|bmp)[;,]", re.IGNORECASE)
# Escapes and comments can spell anything in CSS, so a style has none of them.
_HIDDEN_IN_STYLE = re.compile(r"\\|/\*|<|@|-moz-binding|behaviou?r\s*:", re.IGNORECASE)
_STYLE_NAME = f"{ascii_letters}{digits}-_"
# An empty name is that of brackets alone.
_STYLE_FUNCTIONS = frozenset({"", "rgb", "rgba", "hsl", "hsla", "calc", "min", "max", "clamp"})


_XML_SPACE = " \t\r\n"


class _Refused(Exception):
    """The narrative is refused; the text says why."""


def find_narrative_fault(div: str, *, needs_namespace: bool = True) -> str | None:
    """Return what is wrong with a narrative's `div`, None where it is safe and not empty.

    The place is where the part at fault ends. A text that is no resource's own may be without the
    namespace of XHTML.

    >>> find_narrative_fault('<div xmlns="http://www.w3.org/1999/xhtml"><p>Well.</p></div>')
    >>> find_narrative_fault('<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')
    'has an element that narratives may not have (txt-1): line 1, column 50'
    """
    # So there is no declaration before the root element.
    if not div.lstrip(_XML_SPACE).startswith("<div"):
        return "must be one XHTML div element (txt-1)"
    reader = _Reader(needs_namespace=needs_namespace)
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = reader.start_element
    parser.CharacterDataHandler = reader.add_text
    parser.CommentHandler = reader.check_comment
    parser.StartCdataSectionHandler = reader.refuse_section
    parser.ProcessingInstructionHandler = reader.refuse_instruction
    try:
        parser.Parse(div.encode(), True)
    except _Refused as refusal:
        return f"{refusal}: {_place(parser.CurrentLineNumber, parser.CurrentColumnNumber)}"
    except expat.ExpatError as error:
        return f"is not well-formed XHTML (txt-1): {_place(error.lineno, error.offset)}"
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return None if reader.has_content else "has no content but white space (txt-2)"


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}"


class _Reader:
    """What expat calls for each part of a narrative; raises `_Refused` at the first fault."""

    def __init__(self, *, needs_namespace: bool) -> None:
        self.has_content = False
        self._is_root = True
        self._needs_namespace = needs_namespace

    def start_element(self, name: str, attributes: dict[str, str]) -> None:
        if self._is_root:
            self._is_root = False
            if name != "div" or (self._needs_namespace and "xmlns" not in attributes):
                raise _Refused(f"must be a div in the namespace {_XHTML} (txt-1)")
        # With its prefix, if it has one: a browser that reads HTML knows no namespaces.
        if name not in _ELEMENTS:
            raise _Refused("has an element that narratives may not have (txt-1)")
        if name == "img":
            self.has_content = True
        for attribute, value in attributes.items():
            _check_attribute(name, attribute, value)

    def add_text(self, text: str) -> None:
        self.has_content = self.has_content or bool(text.strip(_XML_SPACE))

    def check_comment(self, text: str) -> None:
        if "<" in text or ">" in text:
            raise _Refused("has a comment that holds markup (txt-1)")

    def refuse_section(self) -> None:
        raise _Refused("has a CDATA section (txt-1)")

    def refuse_instruction(self, target: str, data: str) -> None:
        raise _Refused("has a processing instruction (txt-1)")


def _check_attribute(element: str, name: str, value: str) -> None:
    if name == "xmlns":
        if value != _XHTML:
            raise _Refused(f"leaves the namespace {_XHTML} (txt-1)")
    elif name not in _ATTRIBUTES and name not in _ATTRIBUTES_OF.get(element, ()):
        raise _Refused("has an attribute that narratives may not have (txt-1)")
    elif name in _ADDRESSES:
        if not _is_safe_address(value, images=name == "src"):
            raise _Refused("has an address of a scheme that narratives may not have (txt-1)")
    elif name == "style" and not _is_safe_style(value):
        raise _Refused("has a style that could load or run something (txt-1)")


def _is_safe_address(address: str, *, images: bool) -> bool:
    plain = _IGNORED_IN_ADDRESS.sub("", address)
    scheme = _SCHEME.match(plain)
    if scheme is None or scheme[1].lower() in _SCHEMES:
        return True
    return images and _IMAGE_DATA.match(plain) is not None


def _is_safe_style(style: str) -> bool:
    if _HIDDEN_IN_STYLE.search(style):
        return False
    for before, after in pairwise(style.split("(")):
        # In steps of linear time: a style may be long.
        before = before.rstrip()
        function = before[len(before.rstrip(_STYLE_NAME)) :].lower()
        if function == "url":
            # A picture that comes with the page or in the style: nothing is fetched elsewhere.
            plain = _IGNORED_IN_ADDRESS.sub("", after.partition(")")[0]).strip("'\"")
            if plain.startswith("//") or (_SCHEME.match(plain) and not _IMAGE_DATA.match(plain)):
                return False
        elif function not in _STYLE_FUNCTIONS:
            return False
    return True
