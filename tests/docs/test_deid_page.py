"""The page of rules is what the rules are."""

from __future__ import annotations

from tests.docs.deid_page import PAGE, page_text


def test_the_page_is_made_from_the_rules() -> None:
    assert PAGE.read_text("utf-8") == page_text(), "run `make deid-page`"
