"""Romanisations of Chinese names: the customary Cantonese spelling, and Hanyu Pinyin.

The Cantonese spelling of names on identity cards has no standard (it is close to Meyer and
Wempe's): one syllable is spelt in several ways, and all of the usual ones are returned.
"""

from __future__ import annotations

from functools import cache, lru_cache

__all__ = ["romanize_character", "spell_jyutping"]

_INITIALS = {
    "b": "p b", "p": "p", "m": "m", "f": "f", "d": "t d", "t": "t", "n": "n l", "l": "l",
    "g": "k g", "k": "k", "ng": "ng", "h": "h", "gw": "kw gw", "kw": "kw", "w": "w",
    "z": "ch ts j c", "c": "ch ts c", "s": "s sh", "j": "y", "": " ng",
}  # fmt: skip
_FINALS = {
    "aa": "a ah", "aai": "ai aai", "aau": "au aau", "aam": "am", "aan": "an", "aang": "ang",
    "aap": "ap", "aat": "at", "aak": "ak", "ai": "ai", "au": "au", "am": "am um", "an": "an un",
    "ang": "ang", "ap": "ap", "at": "at ut", "ak": "ak", "e": "e eh", "ei": "ei i ee ay",
    "eng": "eng ing", "ek": "ek ik", "i": "i ze ee z", "iu": "iu", "im": "im", "in": "in",
    "ing": "ing", "ip": "ip", "it": "it", "ik": "ik", "o": "o or", "oi": "oi oy", "ou": "o ou",
    "on": "on", "ong": "ong", "ot": "ot", "ok": "ok", "u": "u oo", "ui": "ui", "un": "un oon",
    "ung": "ung", "ut": "ut", "uk": "uk", "oe": "oe", "oeng": "eung eong", "oek": "euk eok",
    "eoi": "ui", "eon": "un eon", "eot": "ut", "yu": "u ue yu", "yun": "uen un", "yut": "uet ut",
    "m": "m ng", "ng": "ng",
}  # fmt: skip


@cache
def spell_jyutping(syllable: str) -> frozenset[str]:
    """Return the customary spellings of a syllable in Jyutping.

    >>> sorted(spell_jyutping("man4")), "tai" in spell_jyutping("daai6")
    (['man', 'mun'], True)
    """
    bare = syllable.rstrip("123456")
    initial, final = next(
        ((start, bare[len(start) :]) for start in _by_length() if _is_divided(bare, start)),
        ("", bare),
    )
    starts = _INITIALS[initial].split(" ")
    spelt = {start + end for start in starts for end in _FINALS.get(final, final).split()}
    if initial == "j" and final.startswith("y"):
        spelt |= {"y" + end for end in _FINALS[final].split()}
    elif initial == "j" and final.startswith("i"):
        spelt |= {"i" + end.removeprefix("i") for end in _FINALS[final].split()}
    return frozenset(text for text in spelt if len(text) > 1 or text in {"o", "a", "e"})


@cache
def _by_length() -> tuple[str, ...]:
    return tuple(sorted(_INITIALS, key=len, reverse=True))


def _is_divided(syllable: str, initial: str) -> bool:
    return syllable.startswith(initial) and syllable[len(initial) :] in _FINALS


# Chosen: the characters that names are written with are some thousands.
@lru_cache(20_000)
def romanize_character(character: str) -> frozenset[str]:
    """Return the romanisations of a Chinese character, Cantonese and Mandarin.

    The first call loads both dictionaries, some seconds: a server starts without them.

    >>> {"tai", "da"} <= romanize_character("大")
    True
    """
    import pypinyin
    import ToJyutping

    cantonese = [
        reading for _, reading in ToJyutping.get_jyutping_list(character) if reading is not None
    ]
    spelt = {spelling for reading in cantonese for spelling in spell_jyutping(reading)}
    mandarin = pypinyin.pinyin(
        character, style=pypinyin.Style.NORMAL, heteronym=True, errors="ignore"
    )
    for readings in mandarin:
        spelt |= {reading.replace("ü", "u") for reading in readings}
        spelt |= {reading.replace("ü", "v") for reading in readings if "ü" in reading}
    return frozenset(spelt)
