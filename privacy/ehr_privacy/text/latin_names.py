"""Names of people in Latin letters, by lexicons of names and the words around them.

For those whom the store does not know: visitors, staff elsewhere, writers of letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import fold_characters
from ehr_privacy.text.lexicon import Lexicon, load_lexicon

__all__ = ["find_latin_names"]

_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+(?:['’][^\W\d_\u3400-\u9fff]+)?")
# Between the words of one name; a comma after a surname in capitals belongs to it.
_JOINS = re.compile(r"[ \t]{1,2}|-|\.[ ]?|,[ ]{0,2}")
_MOST_WORDS = 5


def find_latin_names(text: str) -> Iterator[Entity]:
    """Yield the names of people in Latin letters; offsets are of the text."""
    finder = _latin_finder()
    words = finder.read_words(text)
    at = 0
    while at < len(words):
        if area := finder.count_area_words(words, at):
            at += area
            continue
        length, score = finder.measure(text, words, at)
        if length:
            yield Entity(words[at].start, words[at + length - 1].end, "PERSON", score)
        at += max(length, 1)


@dataclass(frozen=True)
class _Word:
    start: int
    end: int
    text: str
    folded: str

    @classmethod
    def read(cls, match: re.Match[str]) -> _Word:
        text = match.group()
        stem = re.sub(r"['’]s$", "", text)
        return cls(match.start(), match.start() + len(stem), stem, fold_characters(stem))

    @property
    def is_capital(self) -> bool:
        return self.text[0].isupper()

    @property
    def is_initial(self) -> bool:
        return self.is_capital and len(self.text) <= 2 and self.text.isupper()


@cache
def _latin_finder() -> _LatinFinder:
    return _LatinFinder(load_lexicon())


class _LatinFinder:
    """Says how many words from one on are a name, by titles, cues and lexicons."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._surnames = lexicon.surname_spellings
        self._double = frozenset().union(
            *(spelt for name, spelt in lexicon.spellings_by_surname.items() if len(name) > 1)
        )
        self._syllables = lexicon.given_syllables
        self._first = lexicon.english_first_names
        self._last = lexicon.english_surnames | lexicon.surname_spellings
        self._titles = lexicon.fold_words("titles")
        self._cues = lexicon.fold_words("cues")
        self._eponyms = lexicon.fold_words("eponyms")
        self._eponym_nouns = lexicon.fold_words("eponym_nouns")
        self._ordinary = lexicon.ordinary_words
        # Joined once: the lists have thousands of names.
        self._plain_first = self._first - self._ordinary
        self._short_words = self._syllables | self._ordinary
        self._everyday = self._ordinary | self._eponyms | self._eponym_nouns
        self._no_surnames = (self._titles | self._cues) - self._last
        self._no_parts = self._ordinary - self._syllables - self._last
        self._plain_ordinary = self._ordinary - self._surnames
        self._never_last = self._ordinary - self._last
        self._listed = self._last | self._first
        self._particles = lexicon.fold_words("particles")
        self._addressing = frozenset({"mr", "mrs", "ms", "miss", "mdm", "dr", "prof", "professor"})
        self._people = lexicon.fold_words("people")
        self._chinese_titles = lexicon.compile_chinese("titles", r"[ ]?(?:{})")
        self._chinese_acts = lexicon.compile_chinese("acts", r"[ ]?(?:于\w\w)?(?:{})")
        self._chinese_cues = lexicon.compile_chinese("cues", r"(?:{})[\s::(是叫为]{{0,2}}$")
        self._areas = frozenset(map(fold_characters, lexicon.areas))

    def read_words(self, text: str) -> list[_Word]:
        """Return the words of a text; a surname of two syllables is one: Au-Yeung."""
        words: list[_Word] = []
        for match in _WORD.finditer(text):
            word = _Word.read(match)
            if words and text[words[-1].end : word.start] in ("-", " "):
                both = words[-1].folded + word.folded
                if both in self._double and words[-1].is_capital:
                    first = words.pop()
                    word = _Word(first.start, word.end, text[first.start : word.end], both)
            words.append(word)
        return words

    def count_area_words(self, words: Sequence[_Word], at: int) -> int:
        """Return how many words of an area's name begin at one; Hong and Kong are surnames too."""
        for length in (3, 2):
            if " ".join(word.folded for word in words[at : at + length]) in self._areas:
                return length
        return 0

    def measure(self, text: str, words: Sequence[_Word], at: int) -> tuple[int, float]:
        """Return how many words of a name begin at one, and how sure that is; 0 for none."""
        first = words[at]
        if not first.is_capital and first.folded not in self._surnames:
            return 0, 0.0
        title = self._has_title(text, words, at)
        if self._is_eponym(text, words, at) and not title:
            return 0, 0.0
        run = self._read_run(text, words, at)
        if title:
            length = self._measure_after_title(run)
            return length, 0.85
        has_cue, names_person = self._find_cue(text, words, at)
        is_cue = first.folded in self._cues or first.folded in self._titles
        if is_cue and first.folded not in self._surnames:
            return 0, 0.0
        least = 0 if names_person else 1 if has_cue else 2
        best = max(
            self._measure_cantonese(run, least),
            self._measure_english(run, least),
            self._measure_lower(run),
        )
        if best:
            return best, 0.75
        if length := self._measure_before_title(text, run):
            return length, 0.8
        if has_cue:
            length = self._measure_after_cue(run, names_person)
            return max(length, self._measure_unusual(run)), 0.6
        return 0, 0.0

    def _read_run(self, text: str, words: Sequence[_Word], at: int) -> list[_Word]:
        """Return the words that may be one name: joined by spaces, hyphens, dots, one comma."""
        run = [words[at]]
        commas = 0
        for word in words[at + 1 : at + _MOST_WORDS + 1]:
            between = text[run[-1].end : word.start]
            if not _JOINS.fullmatch(between):
                break
            if "." in between and not run[-1].is_initial:
                break
            commas += "," in between
            if commas and "," in between and (commas > 1 or len(run) > 3):
                break
            run.append(word)
        return run

    def _is_given(self, word: _Word) -> bool:
        """Say whether a word is a Chinese given name: one syllable, or two joined."""
        folded = word.folded
        if folded in self._syllables:
            return True
        return 4 <= len(folded) <= 11 and any(
            folded[:cut] in self._syllables and folded[cut:] in self._syllables
            for cut in range(2, len(folded) - 1)
        )

    def _measure_cantonese(self, run: Sequence[_Word], least: int) -> int:
        """Measure a surname and a given name of one or two syllables, in either order.

        At least so many of the words must be no ordinary ones.
        """
        if len(run) < 2 or not run[0].is_capital:
            return 0
        if run[0].folded in self._surnames:
            given = self._count_given(run, 1)
            if given and self._is_likely(run[: 1 + given], least):
                return self._extend(run, 1 + given)
            # LEE Peter, CHAN Mary Ann.
            if run[1].is_capital and run[1].folded in self._plain_first:
                return self._extend(run, 2)
        for given in (2, 1):
            if (
                len(run) > given
                and run[given].folded in self._surnames
                and run[given].is_capital
                and all(
                    word.is_capital or (position and word.text.islower())
                    for position, word in enumerate(run[:given])
                )
                and all(self._is_given(word) for word in run[:given])
                and self._is_likely(run[: 1 + given], least)
            ):
                return self._extend(run, given + 1)
        return 0

    def _count_given(self, run: Sequence[_Word], at: int) -> int:
        """Count the syllables of a given name from a word on; the second may be small."""
        if not self._is_given(run[at]) or not run[at].is_capital:
            return 0
        if run[at].folded not in self._syllables:
            return 1
        if len(run) > at + 1 and run[at + 1].folded in self._syllables:
            follows = run[at + 1]
            is_hyphened = follows.start == run[at].end + 1 and not follows.is_capital
            if follows.is_capital or (is_hyphened and len(follows.text) > 1):
                return 2
        return 1

    def _is_likely(self, run: Sequence[_Word], least: int) -> bool:
        """Say whether enough of a name's words are no ordinary ones: Lo Lung is none."""
        if " ".join(word.folded for word in run) in self._areas:
            return False
        unusual = sum(word.folded not in self._ordinary for word in run)
        is_written_so = run[0].text.isupper() and not run[-1].text.isupper()
        has_joined = any(
            word.folded not in self._short_words and len(word.text) > 4 for word in run[1:]
        )
        return unusual >= min(least, 1 if len(run) > 2 or is_written_so or has_joined else 2)

    def _extend(self, run: Sequence[_Word], length: int) -> int:
        """Add English names beside a Chinese name: CHAN Tai Man, Peter; CHAN Tai Man Peter."""
        while (
            len(run) > length
            and run[length].is_capital
            and (run[length].folded in self._plain_first or self._is_unusual(run[length]))
        ):
            length += 1
        return length

    def _measure_english(self, run: Sequence[_Word], least: int) -> int:
        """Measure first and last names of English lists: Peter Chan, Mary Ann Smith, J. Smith."""
        first = run[0]
        if len(run) < 2 or first.folded not in self._first or not first.is_capital:
            return 0
        is_written_so = run[1].text.isupper() and not first.text.isupper()
        if first.folded in self._ordinary and run[1].folded in self._ordinary and not is_written_so:
            return 0
        length = 1
        while len(run) > length and length < 4:
            word = run[length]
            is_part = word.is_capital and (
                word.folded in self._last
                or word.folded in self._first
                or (word.is_initial and len(word.text) == 1)
                or self._is_given(word)
                or (first.folded not in self._ordinary and self._is_unusual(word))
            )
            if not is_part and not (word.folded in self._particles and len(run) > length + 1):
                break
            length += 1
        while length > 1 and (
            run[length - 1].folded in self._particles or not run[length - 1].is_capital
        ):
            length -= 1
        if length < 2:
            return 0
        is_ordinary = first.folded in self._ordinary and run[1].folded not in self._surnames
        return 0 if length == 2 and is_ordinary and least and not is_written_so else length

    def _is_unusual(self, word: _Word) -> bool:
        """Say whether a word is none of everyday or of medicine, as far as we know."""
        return (
            len(word.text) > 3
            and word.folded not in self._everyday
            and not _CLINICAL_ENDING.search(word.folded)
        )

    def _measure_unusual(self, run: Sequence[_Word]) -> int:
        """Measure two or three capitalised words that are in no list, after by, with or cc."""
        length = 0
        for word in run[:3]:
            if not word.is_capital or not (self._is_unusual(word) or word.folded in self._last):
                break
            length += 1
        return length if length > 1 and any(map(self._is_unusual, run[:length])) else 0

    def _measure_lower(self, run: Sequence[_Word]) -> int:
        """Measure a name that somebody typed without capitals: chan tai man."""
        if len(run) < 3 or any(word.is_capital for word in run[:3]):
            return 0
        surname, *given = (word.folded for word in run[:3])
        if surname not in self._surnames or any(part not in self._syllables for part in given):
            return 0
        return 3 if sum(part not in self._ordinary for part in (surname, *given)) >= 2 else 0

    def _has_title(self, text: str, words: Sequence[_Word], at: int) -> bool:
        if not at:
            return False
        before = words[at - 1]
        between = text[before.end : words[at].start]
        form = r"\.?[ \t]{0,2}" if before.folded in self._addressing else r"[ \t]{1,2}"
        if not re.fullmatch(form, between) or before.folded not in self._titles:
            return False
        # MO, EN and SN are titles in capitals alone.
        return before.is_capital or len(before.text) > 3 or before.folded in {"mr", "dr", "mrs"}

    def _measure_after_title(self, run: Sequence[_Word]) -> int:
        if run[0].folded in self._no_surnames:
            return 0
        if not run[0].is_capital:
            return 0
        length = 1
        limit = 4
        while len(run) > length and length < limit:
            word = run[length]
            is_hyphened = word.start == run[length - 1].end + 1 and word.folded in self._syllables
            is_part = word.is_capital
            if word.folded in self._no_parts:
                is_part = False
            if word.is_initial and word.folded in self._plain_ordinary:
                is_part = False
            if not (is_part or (is_hyphened and not word.is_capital)):
                break
            length += 1
        # A title before a word of medicine: Nurse Station.
        is_ordinary = run[0].folded in self._never_last
        return 0 if length == 1 and is_ordinary else length

    def _measure_before_title(self, text: str, run: Sequence[_Word]) -> int:
        """Measure a name before a title or a role: Peter Chan 醫生; Jo Doe, Consultant."""
        for length in range(min(len(run), 4), 0, -1):
            end = run[length - 1].end
            after = fold_characters(text[end : end + 5])
            if not all(word.is_capital for word in run[:length]):
                continue
            if self._chinese_titles.match(after):
                return length
            is_surname = length == 1 and run[0].folded in self._last
            if is_surname and len(run[0].text) > 1 and _ACT.match(text, end):
                return 0 if run[0].folded in self._plain_ordinary else 1
            unusual = [word for word in run[:length] if self._is_unusual(word)]
            if length < 2 or not unusual:
                continue
            if _CONTACT.match(text, end) or self._chinese_acts.match(after):
                return length
            is_listed = any(word.folded in self._listed for word in unusual)
            if is_listed and _ROLE.match(text, end):
                return length
        return 0

    def _find_cue(self, text: str, words: Sequence[_Word], at: int) -> tuple[bool, bool]:
        """Say whether a cue of a name is before a word, and whether it can be of a name alone.

        After wife or Assistant: comes a name; after by or with, whatever is done.
        """
        start = words[at].start
        if self._chinese_cues.search(fold_characters(text[max(0, start - 7) : start])):
            return True, True
        if not at:
            return False, False
        if _SLASHED_CUE.search(text[max(0, start - 6) : start]):
            return True, False
        before = words[at - 1]
        between = text[before.end : start]
        if before.folded in ("is", "was") and at > 1 and between == " ":
            before, between = words[at - 2], text[words[at - 2].end : before.start]
        if before.folded not in self._cues or not _CUE_GAP.fullmatch(between):
            return False, False
        return True, before.folded in self._people

    def _measure_after_cue(self, run: Sequence[_Word], names_person: bool) -> int:
        """Measure a lone name after a word such as wife or seen by."""
        length = 0
        while length < min(len(run), 3):
            word = run[length]
            is_name = word.folded in self._first or word.folded in self._last
            is_part = is_name or names_person or (length > 0 and self._is_given(word))
            is_ordinary = word.folded in self._ordinary and not (length and is_name)
            if not word.is_capital or is_ordinary or not is_part:
                break
            length += 1
        return length if length and len(run[0].text) > 2 else 0

    def _is_eponym(self, text: str, words: Sequence[_Word], at: int) -> bool:
        """Say whether a word is of a term of medicine: Wilson disease, Murphy's sign."""
        word = words[at]
        if word.folded not in self._eponyms:
            return False
        if at and words[at - 1].folded in self._eponyms and text[word.start - 1] == "-":
            return True
        if text[word.end : word.end + 2] in ("'s", "’s"):
            return True
        return any(
            later.folded in self._eponym_nouns and "\n" not in text[word.end : later.start]
            for later in words[at + 1 : at + 3]
        )


# What people do in notes, after a surname alone: Chan to review.
_ACT = re.compile(
    r" (?:to|will|has|was|kindly)? ?(?:review|see|call|reviewed|seen|called|informed|notified"
    r"|attended|advised|agreed|aware|consulted|paged|decides?|decided)\b"
)
# How somebody is reached, after their name.
_CONTACT = re.compile(
    r" ?[(,:;]? ?(?i:tel|phone|mobile|e-?mail|contact|电话|電話|\+?\d{4}[ -]?\d{4})"
)
# What somebody is, after their name.
_ROLE = re.compile(
    r",? (?:\(?(?:Associate|Senior|Chief|Resident|Specialist|Visiting|Honorary"
    r"|Medical|Nursing|Ward) )?"
    r"(?:Consultants?|Residents?|Specialist|Officer|Nurse|Manager|Registrar|Physician|Surgeon"
    r"|Professor|RN|EN|APN|MO|SMO|AC|FRC[A-Z]{1,3}|FHKA[A-Z]|FHKC[A-Z]{1,3}|MRCP|MBBS|MBChB|MD)\b"
)
# Discussed with, seen by, referred by, care of.
_SLASHED_CUE = re.compile(r"(?i:\b[dsrc]/[wbo])[ :]{1,2}$")
# Endings of words of medicine: of diseases, operations, specialties and medicines.
_CLINICAL_ENDING = re.compile(
    r"(?:itis|oma|osis|emia|aemia|uria|pathy|ectomy|ostomy|otomy|plasty|scopy|scope|graphy|gram"
    r"|logy|logist|ologists|paedics?|iatric|atrics?|iatry|therapy|cillin|mycin|cycline|floxacin|pril"
    r"|sartan|olol|statin|azole|azine|idine|prazole|dipine|formin|gliptin|gliflozin|parin|aban"
    r"|mab|nib|vir|pam|lam|zepam|barbital|sone|solone|nide|terol|tropium|lukast|setron|phylline"
    r"|ation|ition|ment|ness|ical|ular|ology|ous|able|ible|ing|ed|ly|tic)$"
)
_CUE_GAP = re.compile(r"[ ]?[:,(（][ ]?|[ ]{1,2}")
