"""A patient summary says in the portal's own words what the portal says."""

from __future__ import annotations

import pytest

from ehr_fhir.ips.section_text import load_words
from ehr_portal.i18n import LANGUAGE_BY_TAG, Localizer

# What the portal has no text for: it makes no document, and writes sex and state otherwise.
ONLY_HERE = {"title", "past_problems", "social_history", "pregnancy"}


@pytest.mark.parametrize("tag", [tag for tag in load_words() if tag != "en"])
def test_a_summary_speaks_as_the_portal_does(tag: str) -> None:
    portal = Localizer(LANGUAGE_BY_TAG[tag])
    english, words = load_words()["en"], load_words()[tag]

    assert words.keys() == english.keys()
    others = {
        key: (words[key], portal.translate(english[key]))
        for key in english
        if key not in ONLY_HERE and words[key] != portal.translate(english[key])
    }
    assert others == {}
