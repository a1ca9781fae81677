"""The page of the library is what the ViewDefinitions say."""

from __future__ import annotations

from tests.docs.view_library_page import PAGE, page_text


def test_the_committed_page_is_made_from_the_definitions() -> None:
    assert PAGE.read_text("utf-8") == page_text(), "run `make view-library`"
