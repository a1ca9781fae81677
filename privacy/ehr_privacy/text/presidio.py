"""The recognisers as Presidio's: its analyzer is the frame, with an NLP engine that has no model.

Whoever has a model adds it as a Presidio recogniser; nothing here needs one or downloads one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, NoOpNlpEngine

from ehr_privacy.text.addresses import find_addresses
from ehr_privacy.text.ages import find_ages
from ehr_privacy.text.chinese_names import find_chinese_names
from ehr_privacy.text.dates import find_dates
from ehr_privacy.text.entities import ENTITY_TYPES, Entity
from ehr_privacy.text.folding import fold_characters, narrow_text, squeeze_text
from ehr_privacy.text.known import KnownIdentifiers
from ehr_privacy.text.latin_names import find_latin_names
from ehr_privacy.text.patterns import find_patterns

__all__ = ["KnownRecognizer", "NoteRecognizer", "analyze_note", "build_analyzer"]

# Notes mix languages within a sentence: no recogniser of ours goes by language.
LANGUAGE = "en"
_KEY = "entity_key"


class NoteRecognizer(EntityRecognizer):
    """A Presidio recogniser around a function that yields entities of a text."""

    def __init__(self, name: str, find: Callable[[str], Iterable[Entity]]) -> None:
        self._find = find
        self.name: str
        super().__init__(list(ENTITY_TYPES), name=name, supported_language=LANGUAGE)

    def load(self) -> None:
        """Load nothing: lexicons are read when they are first used."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """Return what the function finds, of the types that are asked for."""
        return [
            RecognizerResult(
                found.type,
                found.start,
                found.end,
                found.score,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                    _KEY: found.key,
                },
            )
            for found in self._find(text)
            if found.type in entities
        ]


class KnownRecognizer(NoteRecognizer):
    """What the store knows of some people; given with one note, as an ad-hoc recogniser."""

    def __init__(self, known: KnownIdentifiers) -> None:
        super().__init__("known", lambda text: known.find(text, _squeeze(_fold(text))))


class _NoEnhancer(ContextAwareEnhancer):
    """Leaves scores: our recognisers look at cues themselves, and lemmas need a model.

    Presidio's own copies every result first, a third of the time of a note.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, 0, 0)

    def enhance_using_context(
        self, text: str, raw_results: list[RecognizerResult], *args: object, **kwargs: object
    ) -> list[RecognizerResult]:
        """Return the results as they are."""
        return raw_results


def build_analyzer(models: Sequence[EntityRecognizer] = ()) -> AnalyzerEngine:
    """Return Presidio's analyzer with our recognisers and those of the caller's models."""
    recognizers = [
        NoteRecognizer("patterns", lambda text: find_patterns(_narrow(text))),
        NoteRecognizer("dates", lambda text: find_dates(_narrow(text))),
        NoteRecognizer("ages", lambda text: find_ages(_narrow(text))),
        NoteRecognizer("addresses", lambda text: find_addresses(_narrow(text))),
        NoteRecognizer("names", _find_names),
        *models,
    ]
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE])
    engine = NoOpNlpEngine([{"lang_code": LANGUAGE, "model_name": "none"}])
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=engine,
        supported_languages=[LANGUAGE],
        context_aware_enhancer=_NoEnhancer(),
    )


def analyze_note(
    analyzer: AnalyzerEngine, text: str, known: Sequence[KnownRecognizer]
) -> list[Entity]:
    """Return the entities of a note, those that overlap too."""
    results: Any = analyzer.analyze(text, LANGUAGE, ad_hoc_recognizers=list(known))
    return [
        Entity(
            result.start,
            result.end,
            result.entity_type,
            result.score,
            (result.recognition_metadata or {}).get(_KEY, ""),
        )
        for result in results
    ]


def _find_names(text: str) -> Iterator[Entity]:
    yield from find_latin_names(text)
    yield from find_chinese_names(_fold(text))


# Recognisers look at one note after another: each form of it is made once.
@lru_cache(2)
def _narrow(text: str) -> str:
    return narrow_text(text)


@lru_cache(2)
def _fold(text: str) -> str:
    return fold_characters(text)


@lru_cache(2)
def _squeeze(folded: str) -> Any:
    return squeeze_text(folded)
