"""Free text: what a layer finds, that surrogates are consistent, and the corpus's floors."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from presidio_analyzer import EntityRecognizer, RecognizerResult

from ehr_privacy.text import Entity, KnownIdentifiers, NoteOwner, NoteScrubber, render_tags
from ehr_privacy.text.dates import find_dates, shift_date
from ehr_privacy.text.entities import ENTITY_TYPES
from ehr_privacy.text.folding import narrow_text
from ehr_privacy.text.patterns import find_patterns
from tests.lib.note_corpus import build_corpus
from tests.lib.note_scores import NoteScores, score_notes

KEY = b"k" * 32
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Chan", "given": ["Tai Man", "Peter"]}, {"text": "陳大文"}],
    "identifier": [{"value": "ZQ123456(9)"}],
    "telecom": [{"value": "+852 9123 4567"}],
    "address": [{"line": ["Flat 12B, 3/F, Example House"], "district": "Kwun Tong"}],
    "contact": [{"name": {"text": "LEE Siu Fong"}, "telecom": [{"value": "98765432"}]}],
}


@pytest.fixture(scope="module")
def scrubber() -> NoteScrubber:
    return NoteScrubber(KEY)


@pytest.fixture(scope="module")
def owner() -> NoteOwner:
    return NoteOwner.of("p1", KnownIdentifiers({"Patient/p1": [PATIENT]}), 7)


@pytest.mark.parametrize(
    "name",
    [
        *("CHAN Tai Man", "Chan Tai-man", "chan tai man", "CHANTAIMAN", "Tai Man CHAN"),
        *("Tai-man Chan", "CHAN, Tai Man", "Peter Chan", "CHAN Tai Man Peter", "chan  tai\nman"),
        *(
            "Peter Tai Man Chan",
            "T.M. Chan",
            "陳大文",
            "陈大文",
            "大文",
            "Chen Dawen",
            "Dawen Chen",
        ),
        *("CHAN Tai Mun", "ＣＨＡＮ　Ｔａｉ　Ｍａｎ"),
    ],
)
def test_a_known_person_is_found_however_the_name_is_written(
    scrubber: NoteScrubber, owner: NoteOwner, name: str
) -> None:
    """In every order, case, width, script and romanisation; the surrogate is the same."""
    scrubbed = scrubber.scrub(f"Saw {name} today", owner)
    expected = scrubber.scrub("Saw CHAN Tai Man today", owner)
    assert scrubbed.text == expected.text
    assert "PATIENT" in scrubbed.text


@pytest.mark.parametrize(
    "number",
    [
        *("ZQ123456(9)", "ZQ1234569", "zq123456 (9)", "ZQ123456（9）", "ＺＱ１２３４５６（９）"),
        *("A123456(3)", "A1234563", "A 123456 (3)", "HKID: A123456(4)", "身份證號碼A123456"),
        *("+852 6123 4567", "61234567", "6123-4567", "電話:61234567", "tel (852)61234567"),
        *("HN12345678X", "HN 12345678(X)", "Case no. 20261234", "jo.doe@example.com"),
        *("https://example.org/p/1", "4556 1568 2160 9393", "11010519491231002X", "58.74.121.78"),
        *("Flat 5, 12/F, Lotus House, Example Estate, Sha Tin", "九龍旺角彌敦道1號2樓C室"),
    ],
)
def test_a_form_of_identifiers_is_found_whole(
    scrubber: NoteScrubber, owner: NoteOwner, number: str
) -> None:
    scrubbed = scrubber.scrub(f"See {number}, thanks", owner)
    plain = "".join(part for part in scrubbed.text.split("⟦") if "⟧" not in part)
    rest = "".join(part.split("⟧")[1] for part in scrubbed.text.split("⟦")[1:])
    assert not any(character.isdigit() for character in narrow_text(plain + rest))


@pytest.mark.parametrize(
    ("written", "moved"),
    [
        ("29/11/2026", "2026-12-06"),
        ("2026-11-29", "2026-12-06"),
        ("20261129", "2026-12-06"),
        ("29 Nov 2026", "2026-12-06"),
        ("29th November 2026", "2026-12-06"),
        ("Nov 29, 2026", "2026-12-06"),
        ("29-Nov-26", "2026-12-06"),
        ("29.11.26", "2026-12-06"),
        ("2026年11月29日", "2026-12-06"),
        ("二零二六年十一月廿九日", "2026-12-06"),
        ("Nov 2026", None),
        ("29 Nov", None),
        ("11月29日", None),
        ("31/02/2026", None),
        ("Chinese New Year", None),
        ("中秋節", None),
    ],
)
def test_a_date_becomes_a_moved_day_or_goes(
    scrubber: NoteScrubber, owner: NoteOwner, written: str, moved: str | None
) -> None:
    assert shift_date(written, 7) == moved
    token = f"⟦DATE:{moved}⟧" if moved else "⟦DATE⟧"
    assert scrubber.scrub(f"seen {written}.", owner).text == f"seen {token}."


def test_a_date_of_nobody_goes() -> None:
    assert "2026" not in NoteScrubber(KEY).scrub("on 29/11/2026", NoteOwner("", None, None)).text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "BP 120/80, x 3/7, FU 2/52, G2P1",
            "aspirin 80mg 1.2.3",
            "Parkinson's disease",
            "since 2010",
        ),
        *("Murphy's sign", "Child-Pugh B", "高血壓及黃疸", "石膏固定", "馬上安排", "Low salt diet"),
        *("SpO2 96% RA, GCS 15", "CKD stage 3", "Hong Kong", "12345678901", "L4/5 block"),
    ],
)
def test_clinical_words_stay(scrubber: NoteScrubber, owner: NoteOwner, text: str) -> None:
    assert scrubber.scrub(text, owner).text == text


def test_surrogates_are_one_persons_in_one_project(scrubber: NoteScrubber) -> None:
    """Nothing of another patient's or another project's can be compared with them."""
    known = KnownIdentifiers({"Patient/p1": [PATIENT]})
    first = scrubber.scrub("CHAN Tai Man", NoteOwner.of("p1", known, 7)).text
    other = scrubber.scrub("CHAN Tai Man", NoteOwner.of("p2", known, 7)).text
    again = NoteScrubber(KEY).scrub("陳大文", NoteOwner.of("p1", known, 7)).text
    assert first == again != other
    read = [render_tags(text, key, str) for text, key in ((first, "a"), (again, "a"), (first, "b"))]
    assert read[0] == read[1] != read[2]
    assert first[-17:-1] not in read[0]


def test_who_a_known_person_is_stays(scrubber: NoteScrubber, owner: NoteOwner) -> None:
    assert "FAMILY" in scrubber.scrub("LEE Siu Fong called", owner).text


def test_an_author_cannot_forge_a_token(scrubber: NoteScrubber, owner: NoteOwner) -> None:
    assert "⟦" not in scrubber.scrub("⟦PERSON:00⟧", owner).text


def test_a_model_adds_what_it_finds() -> None:
    """A model is optional: any recogniser of Presidio's."""

    class Model(EntityRecognizer):
        def load(self) -> None: ...

        def analyze(
            self, text: str, entities: list[str], nlp_artifacts: object = None
        ) -> list[RecognizerResult]:
            return [RecognizerResult("PERSON", 0, 4, 0.9)]

    scrubber = NoteScrubber(KEY, models=[Model(list(ENTITY_TYPES))])
    assert "Zyxw" not in scrubber.scrub("Zyxw came", NoteOwner("p1", None, 7)).text


def test_no_model_and_no_network_are_needed() -> None:
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from ehr_privacy.text import NoteOwner, NoteScrubber\n"
        "found = NoteScrubber(b'k' * 32).find('Mr Chan, a@example.com', NoteOwner('p', None, 7))\n"
        "assert len(found) == 2, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_offsets_are_those_of_the_author(scrubber: NoteScrubber, owner: NoteOwner) -> None:
    """Characters that fold to several keep their place."""
    text = "ﬁnding ½ ß İ: 陳大文"
    found = scrubber.find(text, owner)
    assert [text[entity.start : entity.end] for entity in found] == ["陳大文"]


def test_patterns_with_check_digits_need_a_cue_where_the_check_fails() -> None:
    assert not list(find_patterns("see AB123456(1) there"))
    assert [found.type for found in find_patterns("HKID AB123456(1)")] == ["IDENTITY_CARD"]
    assert list(find_dates("x 3/7 then 2/52")) == []


@pytest.fixture(scope="module")
def held_out() -> NoteScores:
    return score_notes(build_corpus("test", 180, seed=11))


DIRECT = ("IDENTITY_CARD", "PHONE", "CASE_NUMBER", "EMAIL", "URL", "ADDRESS", "DATE", "BED", "AGE")


@pytest.mark.parametrize("kind", DIRECT)
def test_recall_of_each_type_on_the_held_out_notes(held_out: NoteScores, kind: str) -> None:
    assert held_out.recall()[kind] >= 0.99


def test_recall_of_names_on_the_held_out_notes(held_out: NoteScores) -> None:
    recall = held_out.recall()
    assert recall["PERSON, known"] >= 0.99
    assert recall["PERSON"] >= 0.99
    assert recall["PERSON, unknown"] >= 0.95


def test_precision_and_clinical_terms_on_the_held_out_notes(held_out: NoteScores) -> None:
    assert held_out.precision >= 0.95
    assert held_out.survival >= 0.99


def test_entities_never_overlap(held_out: NoteScores, scrubber: NoteScrubber) -> None:
    for note in build_corpus("train", 40, seed=5):
        found: list[Entity] = scrubber.find(note.text, NoteOwner("p1", None, 7))
        assert all(first.end <= second.start for first, second in pairwise(found))
