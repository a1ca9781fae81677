"""Help of the pages, from help_topics.toml: what a page is for, and what its words mean."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ehr_portal.i18n import LANGUAGES

_COLUMN_BY_LANGUAGE = {language.tag: column for column, language in enumerate(LANGUAGES)}


@dataclass(frozen=True)
class HelpWord:
    """One word of a page and what it means."""

    word: str
    means: str


@dataclass(frozen=True)
class HelpTopic:
    """The help of a few pages, in one language."""

    key: str
    title: str
    about: str
    words: tuple[HelpWord, ...]
    # Addresses of the pages, without what follows.
    paths: tuple[str, ...]


@cache
def help_topics(language: str) -> tuple[HelpTopic, ...]:
    """Return every topic in a language, in the order of the file."""
    column = _COLUMN_BY_LANGUAGE[language]
    text = (files(__package__) / "help_topics.toml").read_text("utf-8")
    return tuple(
        HelpTopic(
            key=topic["key"],
            title=topic["title"][column],
            about=topic["about"][column],
            words=tuple(
                HelpWord(word["word"][column], word["means"][column]) for word in topic["word"]
            ),
            paths=tuple(topic["paths"]),
        )
        for topic in tomllib.loads(text)["topic"]
    )


def find_help(path: str, language: str) -> HelpTopic | None:
    """Return the topic of a page, by the longest of the paths that its address begins with.

    >>> find_help("/record/results", "en").key, find_help("/record/item/Goal/7", "en").key
    ('results', 'care-plan')
    """
    fitting = [
        (len(known), topic)
        for topic in help_topics(language)
        for known in topic.paths
        if _is_below(path, known)
    ]
    return max(fitting, key=lambda found: found[0], default=(0, None))[1]


def _is_below(path: str, known: str) -> bool:
    if path == known or path.startswith(f"{known}/"):
        return True
    # /record/item/Medication stands for the types of medicines: MedicationRequest and its siblings.
    return known.startswith("/record/item/") and path.startswith(known)


def topic_by_key(key: str, topics: Sequence[HelpTopic]) -> HelpTopic | None:
    """Return a topic by its key, None without one."""
    return next((topic for topic in topics if topic.key == key), None)
