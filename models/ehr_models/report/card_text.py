"""The words that a task writes of itself: Markdown whose headings name paragraphs of the card."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ehr_fhir.errors import Unprocessable
from ehr_models.report.contents import TEXT_KEYS


def parse_card_text(text: str) -> Mapping[str, str]:
    """Return the paragraphs by key: the heading's words in lower case, joined by underscores.

    Unprocessable for a heading that no card has, or one that stands there twice.

    >>> parse_card_text("## How to use\\nRead it.\\nThen act.\\n\\n## Users\\nNurses.\\n")
    {'how_to_use': 'Read it. Then act.', 'users': 'Nurses.'}
    """
    texts: dict[str, str] = {}
    for heading, body in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.M):
        key = re.sub(r"\W+", "_", heading.strip().lower())
        if key not in TEXT_KEYS:
            known = ", ".join(each.replace("_", " ").capitalize() for each in TEXT_KEYS)
            raise Unprocessable(f"card.md has the heading {heading}; a card has: {known}.")
        if key in texts:
            raise Unprocessable(f"card.md has the heading {heading} twice.")
        texts[key] = " ".join(body.split())
    return texts
