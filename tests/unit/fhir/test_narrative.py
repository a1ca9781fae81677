"""Narratives: what is taken is safe in a browser, what is refused says no value (txt-1, txt-2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nh3
import pytest

from ehr_fhir import narrative
from ehr_fhir.errors import Unprocessable
from ehr_fhir.json_text import parse
from ehr_fhir.narrative import find_narrative_fault
from ehr_fhir.validation.validate import validate
from tests.lib.examples import INVALID, examples

XHTML = "http://www.w3.org/1999/xhtml"
SECRET = "Wong-Siu-Ming"
# Summaries of real systems whose markup is cut off or is not XHTML.
NOT_XHTML = (
    "CA_DAVE_DEBRONKART_VERTO", "US_MEDITECH_ips_1.json", "HK_IPS_Sample1", "HK_IPS_Sample_with",
)  # fmt: skip

SAFE = (
    "<p>Well.</p>",
    "陳大文 &amp; co &#160;",
    "<br/>x",
    '<img src="#pic" alt="x"/>',
    '<img src="data:image/png;base64,AAAA"/>',
    '<a href="Patient/1">x</a><a href="https://example.org/a?b=c:d">y</a><a name="z">z</a>',
    '<a href="mailto:a@example.org">x</a> <a href="tel:+852">y</a> <a href="#here">z</a>',
    '<table border="1" class="grid"><tbody><tr><td colspan="2">x</td></tr></tbody></table>',
    '<span style="background: url(tick.png)" xml:lang="zh-HK">x</span>',
    '<p style="color: rgb(1, 2, 3); width: calc(100% - 1em)">x</p>',
    "<!-- made by hand -->x",
    f'<table xmlns="{XHTML}"><tr><td>x</td></tr></table>',
    '<table><tr idref="a"><td>x</td></tr></table>',
)
UNSAFE = (
    # Elements.
    "<script>x</script>", "<script/>x", "<SCRIPT>x</SCRIPT>", "<iframe src='x'/>x", "<object/>x",
    "<embed/>x", "<form>x</form>", "<input/>x", "<button>x</button>", "<link href='x'/>x",
    "<base/>x",
    "<style>p {}</style>x", "<meta/>x", "<svg>x</svg>", "<math>x</math>", "<video/>x", "<audio/>x",
    "<body>x</body>", "<head/>x", "<html>x</html>", "<frame/>x", "<ins>x</ins>", "<font>x</font>",
    "<textarea>x</textarea>", "<template>x</template>", "<noscript>x</noscript>", "<x-y>x</x-y>",
    f"<h:script xmlns:h='{XHTML}'>x</h:script>", f"<h:p xmlns:h='{XHTML}'>x</h:p>",
    # Attributes.
    "<p onclick='x'>x</p>", "<p ONCLICK='x'>x</p>", "<img src='x' onerror='x'/>",
    "<a target='_blank' href='x'>x</a>", "<p formaction='x'>x</p>", "<img srcset='x'/>",
    "<table background='x'><tr><td>x</td></tr></table>", "<a ping='x'>x</a>", "<p data-x='y'>x</p>",
    "<p xlink:href='x' xmlns:xlink='http://www.w3.org/1999/xlink'>x</p>",
    # Addresses.
    "<a href='javascript:x'>x</a>", "<a href='JaVaScRiPt:x'>x</a>", "<a href=' javascript:x'>x</a>",
    "<a href='java&#10;script:x'>x</a>", "<a href='java&#9;script:x'>x</a>",
    "<a href='&#106;avascript:x'>x</a>", "<a href='vbscript:x'>x</a>",
    "<a href='data:text/html,x'>x</a>",
    "<a href='data:image/png,x'>x</a>", "<img src='data:text/html,x'/>",
    "<img src='data:image/svg+xml,x'/>", "<img src='javascript:x'/>",
    "<q cite='javascript:x'>x</q>",
    "<img longdesc='javascript:x' src='x'/>", "<a href='file:///etc/passwd'>x</a>",
    "<a href='blob:x'>x</a>", "<map name='m'><area href='javascript:x' alt='x'/></map>x",
    # Styles.
    "<p style='background: url(javascript:x)'>x</p>",
    "<p style='background: url(http://e.org/x)'>x</p>",
    "<p style='background: url(//e.org/x)'>x</p>",
    "<p style='background: url(\"https://e.org/x\")'>x</p>",
    "<p style='background: u\\72l(http://e.org/x)'>x</p>",
    "<p style='background: URL( http://e.org)'>x</p>",
    "<p style='background: url/**/(http://e.org/x)'>x</p>", "<p style='width: expression(x)'>x</p>",
    "<p style='behavior: url(x)'>x</p>", "<p style='-moz-binding: url(x)'>x</p>",
    "<p style='@import \"x\"'>x</p>", "<p style='background: image-set(\"x\" 1x)'>x</p>",
    "<p style='background: url(data:image/svg+xml,x)'>x</p>",
    # What a browser reads in another way.
    "<![CDATA[ > <img src='x' onerror='x'/> ]]>", "<!--> <img src='x' onerror='x'/> -->x",
    "<?x y?>x",
    # Not XHTML.
    "<p>x", "<p>x</P>", "<br>x", "x & y", "&nbsp;x", "<p class=a>x</p>", "x</div><div>x",
    "<p class='a' class='b'>x</p>", "<p xmlns='http://www.w3.org/2000/svg'>x</p>",
    # Empty.
    "", " \n\t", "<p/>", "<!-- x -->", "<p> </p>",
)  # fmt: skip


def div(inner: str) -> str:
    """Return a narrative's div."""
    return f'<div xmlns="{XHTML}">{inner}</div>'


def narratives(shared_data: Path) -> Iterator[str]:
    """Yield the narratives of HL7's examples and of real summaries that are sound."""

    def within(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "div" and isinstance(value, str):
                    yield value
                else:
                    yield from within(value)
        elif isinstance(node, list):
            for value in node:
                yield from within(value)

    for example in examples(shared_data):
        if example.address not in INVALID:
            yield from within(example.content)
    for path in sorted((shared_data / "ips-bundles").glob("*.json")):
        if not any(name in path.name for name in NOT_XHTML):
            yield from within(parse(path.read_bytes()))


@pytest.mark.parametrize("inner", SAFE)
def test_plain_content_is_taken(inner: str) -> None:
    assert find_narrative_fault(div(inner)) is None


@pytest.mark.parametrize("inner", UNSAFE)
def test_what_could_do_something_or_is_no_xhtml_is_refused(inner: str) -> None:
    assert find_narrative_fault(div(inner)) is not None


@pytest.mark.parametrize(
    "inner",
    [
        f"<p style='{'a' * 300_000}'>x</p>", f"<p style='{'a(' * 100_000}'>x</p>",
        f"<p style='{'behavior ' * 50_000}'>x</p>", f"<a href='{'a' * 300_000}'>x</a>",
        f"{'<p>' * 100_000}x{'</p>' * 100_000}", f"<!-- {'- ' * 100_000}-->x",
    ],
    ids=["name", "functions", "behaviors", "address", "depth", "comment"],
)  # fmt: skip
def test_a_large_narrative_is_judged_in_linear_time(inner: str) -> None:
    started = time.process_time()

    find_narrative_fault(div(inner))

    # A tenth of a second; a square of these lengths would take hours.
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "text",
    [
        "x", "<div>x</div>", f"<p xmlns='{XHTML}'>x</p>", "<div xmlns='http://example.org'>x</div>",
        f"<!DOCTYPE div [<!ENTITY a 'b'>]><div xmlns='{XHTML}'>&a;</div>",
        f"<?xml version='1.0'?>{div('x')}", f"x{div('x')}", f"{div('x')}x", f"{div('x')}{div('x')}",
    ],
)  # fmt: skip
def test_a_narrative_is_one_div_of_xhtml(text: str) -> None:
    assert find_narrative_fault(text) is not None


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ({"resourceType": "Patient", "text": {}}, "Patient.text.div"),
        (
            {"resourceType": "Patient", "contained": [{"resourceType": "Basic", "text": {}}]},
            "Patient.contained[0].text.div",
        ),
        (
            {"resourceType": "Bundle", "type": "document",
             "entry": [{"resource": {"resourceType": "Composition", "section": [{"text": {}}]}}]},
            "Bundle.entry[0].resource.section[0].text.div",
        ),
        (
            {"resourceType": "Parameters",
             "parameter": [{"name": "x", "part": [{"name": "y", "resource": {
                 "resourceType": "Basic", "text": {}}}]}]},
            "Parameters.parameter[0].part[0].resource.text.div",
        ),
    ],
)  # fmt: skip
def test_every_narrative_is_judged_wherever_it_stands(resource: dict[str, Any], place: str) -> None:
    def fill(node: Any) -> None:
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if key == "text":
                node[key] = {"status": "generated", "div": div(f"<p title='{SECRET}' onclick=''/>")}
            elif isinstance(value, dict | list):
                fill(value)

    fill(resource)

    with pytest.raises(Unprocessable) as caught:
        validate(resource)

    faults = [issue for issue in caught.value.issues if issue.expression == place]
    assert [issue.code for issue in faults] == ["invariant"]
    assert "txt-1" in faults[0].diagnostics
    assert SECRET not in str([issue.diagnostics for issue in caught.value.issues])


class Tags(HTMLParser):
    """The elements of an HTML text, each with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[tuple[str, frozenset[str]]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element and what it says; HTML itself adds parents to the rows of a table."""
        if tag not in ("tbody", "colgroup"):
            self.found.add((tag, frozenset(f"{name}={value}" for name, value in attrs)))


def test_a_sanitizer_of_html_finds_nothing_to_take_away(shared_data: Path) -> None:
    """nh3 reads as browsers do: what only HTML's reading finds in a text it would cut."""
    attributes = {
        element: {*narrative._ATTRIBUTES, *narrative._ATTRIBUTES_OF.get(element, ()), "xmlns"}
        for element in narrative._ELEMENTS
    }
    attributes["tr"].add("idref")
    texts = [*map(div, SAFE), *narratives(shared_data)]
    for text in texts:
        assert find_narrative_fault(text) is None, text[:80]
        kept = nh3.clean(
            text,
            tags=set(narrative._ELEMENTS),
            attributes=attributes,
            url_schemes={*narrative._SCHEMES, "data"},
            link_rel=None,
        )
        assert Tags(text).found == Tags(kept).found, text[:200]

    assert len(texts) > 1000
