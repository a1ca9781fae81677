"""The reference page says what is there, and its example runs."""

from __future__ import annotations

import re

from ehr_fhir.fhirpath.registry import FUNCTIONS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "fhirpath.md").read_text("utf-8")


def test_the_example_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    exec(compile(code, "fhirpath.md", "exec"), {})


def test_every_function_is_on_the_page() -> None:
    section = PAGE.partition("## Functions")[2].partition("##")[0]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", section))))
    named |= {f"{start}{kind}" for start in ("to", "convertsTo") for kind in named}

    assert FUNCTIONS.keys() <= named
