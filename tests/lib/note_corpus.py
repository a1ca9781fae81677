# ruff: noqa: E501 - lists of names are in long lines
"""Synthetic notes of Hong Kong hospitals, in English, Chinese and both, with planted identifiers.

The forms of notes are tests/data/notes/train.toml, by which the recognisers were written, and
test.toml, which was written before them and is for measuring alone. The names of the parts are
different too. dev.toml was written in between, to mend the recognisers by. Everything comes from a seed. No number can be somebody's: identity cards have a
prefix of which no card is known.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pypinyin
from faker.providers.person.en_GB import Provider as British
from faker.providers.person.en_IN import Provider as Indian
from faker.providers.person.id_ID import Provider as Indonesian
from faker.providers.person.zh_CN import Provider as Mainland
from faker.providers.person.zh_TW import Provider as Taiwanese

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.string_folding import fold_text

__all__ = ["Note", "Planted", "build_corpus"]

_FORMS = Path(__file__).parents[1] / "data" / "notes"
_SLOT = re.compile(r"\{([A-Z0-9_]+)(?:\.(\w+))?\}")

# Surname, as Hong Kong spells it; the two halves of the corpus share them, as people do.
_SURNAMES = dict(
    pair.split(":")
    for pair in (
        "陳:Chan 李:Lee 黃:Wong 張:Cheung 梁:Leung 吳:Ng 林:Lam 王:Wong 劉:Lau 何:Ho 鄭:Cheng 周:Chow "
        "楊:Yeung 葉:Yip 蔡:Choi 鄧:Tang 馮:Fung 許:Hui 曾:Tsang 謝:Tse 徐:Tsui 郭:Kwok 鍾:Chung 潘:Poon "
        "趙:Chiu 羅:Lo 余:Yu 蘇:So 馬:Ma 盧:Lo 高:Ko 江:Kong 蕭:Siu 朱:Chu 胡:Wu 麥:Mak 譚:Tam 莫:Mok "
        "湯:Tong 姚:Yiu 廖:Liu 袁:Yuen 關:Kwan 石:Shek 邱:Yau 陸:Luk 彭:Pang 區:Au 鄺:Kwong 歐陽:Au-Yeung "
        "司徒:Szeto 伍:Ng 冼:Sin 岑:Shum 黎:Lai 龐:Pong 任:Yam 文:Man 方:Fong 溫:Wan 連:Lin"
    ).split()
)
_GIVEN = {
    "train": (
        "大文:Tai Man 志強:Chi Keung 偉明:Wai Ming 嘉欣:Ka Yan 淑芬:Suk Fun 美玲:Mei Ling 家輝:Ka Fai "
        "國榮:Kwok Wing 慧嫻:Wai Han 子健:Tsz Kin 詠詩:Wing Sze 俊傑:Chun Kit 麗珍:Lai Chun 永康:Wing Hong "
        "秀英:Sau Ying 少芳:Siu Fong 浩然:Ho Yin 曉彤:Hiu Tung 文傑:Man Kit 佩珊:Pui Shan 建華:Kin Wah "
        "玉蘭:Yuk Lan 世昌:Sai Cheong 惠玲:Wai Ling 啟明:Kai Ming 寶珠:Po Chu 鴻:Hung 敏:Man 樂怡:Lok Yi"
    ),
    "dev": (
        "嘉明:Ka Ming 詩雅:Sze Nga 樹根:Shu Kan 翠華:Chui Wah 冠中:Koon Chung 妙齡:Miu Ling 鳳儀:Fung Yee "
        "卓然:Cheuk Yin 柏熹:Pak Hei 鈺瑩:Yuk Ying 廣生:Kwong Sang 迪:Dick 容:Yung 瑞蓮:Sui Lin 帶娣:Tai Tai "
        "劍虹:Kim Hung 頌恩:Chung Yan 澤民:Chak Man 安琪:On Kei 勤:Kan 若蘭:Yeuk Lan 煥珍:Woon Chun"
    ),
    "test": (
        "子軒:Tsz Hin 凱琪:Hoi Ki 錦添:Kam Tim 婉儀:Yuen Yee 德成:Tak Shing 雅雯:Nga Man 兆基:Siu Kei "
        "月娥:Yuet Ngo 耀祖:Yiu Cho 倩兒:Sin Yee 梓晴:Tsz Ching 富貴:Fu Kwai 桂芳:Kwai Fong 卓賢:Cheuk Yin "
        "紫珊:Tsz Shan 炳坤:Ping Kwan 笑媚:Siu Mei 展鵬:Chin Pang 翠屏:Chui Ping 景行:King Hang 沛霖:Pui Lam "
        "靜儀:Ching Yee 鎮濠:Chun Ho 雪瑩:Suet Ying 朗:Long 穎:Wing 逸朗:Yat Long 芷澄:Tsz Ching 國棟:Kwok Tung "
        "銀好:Ngan Ho 阿妹:Ah Mui 金水:Kam Shui 蘊芝:Wan Chi 灝東:Ho Tung"
    ),
}
_ENGLISH = sorted(British.first_names)
_BUILDINGS = {
    "train": (
        ("Lok Wah South Estate", "樂華南邨", "Man Wah House", "敏華樓", "Kwun Tong", "觀塘"),
        ("Choi Yuen Estate", "彩園邨", "Choi Ping House", "彩屏樓", "Sheung Shui", "上水"),
        ("Mei Lam Estate", "美林邨", "Mei Fung House", "美楓樓", "Sha Tin", "沙田"),
    ),
    "dev": (("Sun Chui Estate", "新翠邨", "Sun Yuet House", "新月樓", "Tai Wai", "大圍"),),
    "test": (
        ("Wah Fu Estate", "華富邨", "Wah Ming House", "華明樓", "Southern", "南區"),
        ("Shun Tin Estate", "順天邨", "Tin Kam House", "天金樓", "Kwun Tong", "觀塘"),
        ("Tai Yuen Estate", "大元邨", "Tai Tak House", "泰德樓", "Tai Po", "大埔"),
        ("Fu Shin Gardens", "富善花園", "Block 3", "三座", "Tuen Mun", "屯門"),
    ),
}
_STREETS = {
    "train": (
        ("Nathan Road", "彌敦道", "Mong Kok", "旺角"),
        ("Queen's Road East", "皇后大道東", "Wan Chai", "灣仔"),
    ),
    "dev": (("Canton Road", "廣東道", "Tsim Sha Tsui", "尖沙咀"),),
    "test": (
        ("Castle Peak Road", "青山道", "Cheung Sha Wan", "長沙灣"),
        ("Electric Road", "電氣道", "North Point", "北角"),
        ("Fuk Wa Street", "福華街", "Sham Shui Po", "深水埗"),
    ),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONG_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


@dataclass(frozen=True)
class Planted:
    """An identifier that was put into a note; `is_known` says whether the store knows of it."""

    start: int
    end: int
    type: str
    is_known: bool = False


@dataclass(frozen=True)
class Note:
    """A note with what was planted, the words that must come through, and who is known."""

    text: str
    planted: tuple[Planted, ...]
    terms: tuple[str, ...]
    own: Mapping[str, list[dict[str, Any]]]
    staff: Mapping[str, list[dict[str, Any]]]
    form: int


def build_corpus(half: str, count: int, seed: int) -> Iterator[Note]:
    """Yield notes of one part, `train`, `dev` or `test`; every form comes equally often."""
    source = tomllib.loads((_FORMS / f"{half}.toml").read_text(encoding="utf-8"))["note"]
    for number in range(count):
        random_source = random.Random(f"{seed}-{half}-{number}")
        form = number % len(source)
        yield _NoteWriter(half, random_source).write(source[form], form)


@dataclass(frozen=True)
class _Person:
    family: str
    given: str
    family_zh: str
    given_zh: str
    english: str
    sex: str

    @property
    def is_chinese(self) -> bool:
        return bool(self.family_zh)


@dataclass
class _NoteWriter:
    half: str
    random: random.Random
    people: dict[str, _Person] = field(default_factory=dict)
    known: dict[str, bool] = field(default_factory=dict)
    hkid: str = ""
    phones: list[str] = field(default_factory=list)

    def write(self, form: Mapping[str, Any], number: int) -> Note:
        pieces: list[str] = []
        planted: list[Planted] = []
        at = length = 0
        text = str(form["text"]).strip("\n")
        self.known = {
            "PT": True,
            "FAM": self.random.random() < 0.6,
            "STAFF": self.random.random() < 0.7,
            "OTHER": False,
        }
        for slot in _SLOT.finditer(text):
            before = text[at : slot.start()]
            value, kind, is_known = self.fill(slot[1], slot[2] or "")
            start = length + len(before)
            pieces += [before, value]
            length = start + len(value)
            planted.append(Planted(start, length, kind, is_known))
            at = slot.end()
        pieces.append(text[at:])
        own = {"Patient/p1": [self.patient()]}
        if self.known["FAM"] and "FAM" in self.people:
            own["RelatedPerson/r1"] = [self.resource("RelatedPerson", "r1", "FAM")]
        staff = {}
        if self.known["STAFF"] and "STAFF" in self.people:
            staff["Practitioner/d1"] = [self.resource("Practitioner", "d1", "STAFF")]
        return Note("".join(pieces), tuple(planted), tuple(form["terms"]), own, staff, number)

    def fill(self, slot: str, form: str) -> tuple[str, str, bool]:
        if slot in ("PT", "FAM", "STAFF", "OTHER"):
            person = self.people.setdefault(slot, self.make_person(slot))
            return self.write_name(person, form), "PERSON", self.known[slot]
        makers = {
            "HKID": self.write_hkid, "PHONE": self.write_phone, "CASE": self.write_case,
            "BED": self.write_bed, "BED_LABEL": self.write_bed_label, "DATE": self.write_date,
            "EMAIL": self.write_email, "URL": self.write_url, "AGE90": self.write_age,
            "ADDR": self.write_address,
        }  # fmt: skip
        types = {
            "HKID": "IDENTITY_CARD",
            "CASE": "CASE_NUMBER",
            "BED_LABEL": "BED",
            "AGE90": "AGE",
            "ADDR": "ADDRESS",
        }
        return makers[slot](form), types.get(slot, slot), slot == "HKID"

    # People.

    def make_person(self, slot: str) -> _Person:
        pick = self.random
        english = pick.choice(_ENGLISH)
        sex = pick.choice("MF")
        chance = pick.random()
        if slot == "OTHER" and chance < 0.25:
            provider = pick.choice((Indian, Indonesian))
            first = pick.choice(sorted(provider.first_names))
            return _Person(pick.choice(sorted(provider.last_names)), "", "", "", first, sex)
        if slot in ("OTHER", "STAFF") and chance < 0.35:
            last = pick.choice(sorted(British.last_names))
            return _Person(last, "", "", "", english, sex)
        if chance > 0.85:
            # From the mainland or Taiwan, spelt in Pinyin.
            names = Mainland.first_names if chance > 0.93 else Taiwanese.first_names
            listed = sorted(names)
            given = pick.choice(listed[::2] if self.half == "train" else listed[1::2])
            family_zh = pick.choice(sorted(_SURNAMES))
            family = "".join(pypinyin.lazy_pinyin(family_zh)).capitalize()
            spelt = "".join(pypinyin.lazy_pinyin(given)).capitalize()
            return _Person(family, spelt, family_zh, given, "", sex)
        family_zh = pick.choice(sorted(_SURNAMES))
        given_zh, given = pick.choice(re.findall(r"(\S+?):(\S+(?: [A-Z]\S+)?)", _GIVEN[self.half]))
        english = english if pick.random() < 0.35 else ""
        return _Person(_SURNAMES[family_zh], given, family_zh, given_zh, english, sex)

    def write_name(self, person: _Person, form: str) -> str:
        pick = self.random
        if form in ("zh", "hans", "title", "zhtitle") and person.is_chinese:
            name = person.family_zh + person.given_zh
            if form == "title":
                name = person.family_zh + pick.choice(("先生", "女士", "婆婆", "伯伯"))
                # A title tells of nobody; the surname before it does.
                return name
            if form == "zhtitle":
                return name + "醫生"
            return fold_text(name) if form == "hans" else name
        if form in ("mr", "title") or (form == "surname"):
            prefix = "" if form == "surname" else pick.choice(("Mr ", "Mr. ", "Ms ", "Mrs "))
            return f"{prefix}{pick.choice((person.family, person.family.upper()))}"
        if not person.given:
            return pick.choice(
                (f"{person.english} {person.family}", f"{person.english} {person.family.upper()}")
            )
        return self.write_latin(person, form)

    def write_latin(self, person: _Person, form: str) -> str:
        family, given = person.family, person.given
        hyphened = given[0] + given[1:].replace(" ", "-").lower()
        upper = family.upper()
        if form == "upper":
            return f"{upper} {given.upper()}"
        if form == "comma":
            return self.random.choice((f"{upper}, {given}", f"{family}, {hyphened}"))
        forms = [
            f"{upper} {given}", f"{upper} {hyphened}", f"{family} {given}", f"{family} {hyphened}",
            f"{given} {upper}", f"{hyphened} {family}", f"{upper}, {given}",
        ]  # fmt: skip
        if person.english:
            forms += [
                f"{person.english} {family}", f"{person.english} {upper}",
                f"{upper} {given} {person.english}", f"{upper} {given}, {person.english}",
                f"{person.english} {family} {given}",
            ]  # fmt: skip
        return self.random.choice(forms)

    def patient(self) -> dict[str, Any]:
        person = self.people.get("PT") or self.make_person("PT")
        self.people["PT"] = person
        resource = self.resource("Patient", "p1", "PT")
        if self.hkid:
            resource["identifier"] = [{"value": self.hkid}]
        return resource

    def resource(self, kind: str, resource_id: str, slot: str) -> dict[str, Any]:
        person = self.people[slot]
        given = [
            *([person.given] if person.given else []),
            *([person.english] if person.english else []),
        ]
        names: list[dict[str, Any]] = [{"family": person.family, "given": given}]
        if person.is_chinese:
            chinese = {"text": person.family_zh + person.given_zh}
            chance = self.random.random()
            # One record in ten has one of the forms alone.
            names = [chinese] if chance < 0.1 else names if chance < 0.2 else [*names, chinese]
        return {"resourceType": kind, "id": resource_id, "name": names}

    # Numbers and dates.

    def write_hkid(self, form: str) -> str:
        if not self.hkid:
            body = f"ZQ{self.random.randrange(10**6):06}"
            self.hkid = f"{body}({JURISDICTION.person_identifier.check_digit(body)})"
        body, check = self.hkid[:-3], self.hkid[-2]
        wide = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
        return self.random.choice(
            (
                self.hkid, f"{body}{check}", f"{body} ({check})", self.hkid.lower(),
                self.hkid.translate(wide), f"{body[:2]} {body[2:]}({check})", f"{body}-{check}",
                f"{body[:5]} {body[5:]} ({check})", f"{body}（{check}）",
            )
        )  # fmt: skip

    def write_phone(self, form: str) -> str:
        number = f"{self.random.choice('235679')}{self.random.randrange(10**7):07}"
        return self.random.choice(
            (
                number, f"{number[:4]} {number[4:]}", f"{number[:4]}-{number[4:]}",
                f"+852 {number[:4]} {number[4:]}", f"(852) {number}", f"852-{number}",
                f"+852{number}",
            )
        )  # fmt: skip

    def write_case(self, form: str) -> str:
        number = f"{self.random.randrange(8, 27):02}{self.random.randrange(10**6):06}"
        letter = self.random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ")
        return self.random.choice(
            (f"HN{number}{letter}", f"HN{number}({letter})", f"HN {number}{letter}", f"HN{number}")
        )

    def write_bed(self, form: str) -> str:
        bed = self.random.randrange(1, 40)
        ward = f"{self.random.randrange(1, 12)}{self.random.choice('ABCDEF')}"
        return self.random.choice((str(bed), f"{ward}-{bed}", f"E{ward}-{bed:02}"))

    def write_bed_label(self, form: str) -> str:
        bed = self.random.randrange(1, 40)
        ward = f"{self.random.randrange(1, 12)}{self.random.choice('ABCDEF')}"
        return self.random.choice(
            (
                f"Ward {ward} Bed {bed}",
                f"Bed {bed}",
                f"{ward}-{bed:02}",
                f"床號{bed}",
                f"bed no. {bed}",
            )
        )

    def write_date(self, form: str) -> str:
        day = date(2019, 1, 1) + timedelta(days=self.random.randrange(2800))
        short = self.random.choice((True, False))
        if form == "zh":
            return self.random.choice(
                (
                    f"{day.year}年{day.month}月{day.day}日", f"{day.month}月{day.day}日",
                    f"{day:%Y-%m-%d}", f"{day.day}/{day.month}/{day.year}",
                    self.write_han_date(day), f"{day.year} 年 {day.month} 月 {day.day} 日",
                )
            )  # fmt: skip
        month = _MONTHS[day.month - 1]
        return self.random.choice(
            (
                f"{day:%d/%m/%Y}", f"{day.day}/{day.month}/{day:%y}", f"{day:%Y-%m-%d}",
                f"{day.day} {month} {day.year}", f"{day.day} {_LONG_MONTHS[day.month - 1]} {day.year}",
                f"{day:%d}-{month}-{day.year}", f"{month} {day.day}, {day.year}",
                f"{day.day}.{day.month}.{day.year}", f"{day.day} {month}" if short else f"{day:%d-%m-%Y}",
                f"{_ordinal(day.day)} {_LONG_MONTHS[day.month - 1]} {day.year}",
            )
        )  # fmt: skip

    def write_han_date(self, day: date) -> str:
        digits = "零一二三四五六七八九"
        year = "".join(digits[int(digit)] for digit in str(day.year))
        return f"{year}年{_han(day.month)}月{_han(day.day)}日"

    def write_email(self, form: str) -> str:
        name = self.random.choice(("tm.chan", "wongsf88", "lee_peter", "kwok-yee", "happy.lam"))
        host = self.random.choice(("example.com", "example.org.hk", "mail.example.net"))
        return f"{name}{self.random.randrange(100)}@{host}"

    def write_url(self, form: str) -> str:
        number = self.random.randrange(10**6)
        return self.random.choice(
            (f"https://portal.example.org/p/{number}", f"www.example.com.hk/u?id={number}",
             f"http://results.example.net/view/{number:06}")
        )  # fmt: skip

    def write_age(self, form: str) -> str:
        return str(self.random.randrange(90, 106))

    def write_address(self, form: str) -> str:
        pick = self.random
        flat, floor = pick.randrange(1, 30), pick.randrange(1, 40)
        letter, house = pick.choice("ABCDEFGH"), pick.randrange(1, 400)
        estate, estate_zh, block, block_zh, area, area_zh = pick.choice(_BUILDINGS[self.half])
        street, street_zh, quarter, quarter_zh = pick.choice(_STREETS[self.half])
        if form == "zh":
            return pick.choice(
                (
                    f"{area_zh}{estate_zh}{block_zh}{floor}樓{flat}室", f"{estate_zh}{block_zh}{flat:02}室",
                    f"九龍{quarter_zh}{street_zh}{house}號{floor}樓{letter}室", f"{quarter_zh}{street_zh}{house}號地下",
                )
            )  # fmt: skip
        return pick.choice(
            (
                f"Flat {flat}, {floor}/F, {block}, {estate}, {area}", f"Rm {floor:02}{flat:02}, {block}, {estate}",
                f"Flat {letter}, {floor}/F, {house} {street}, {quarter}, Kowloon", f"{house} {street}, {quarter}",
                f"Room {flat}, {floor}th Floor, {block}, {estate}, {area}, Hong Kong",
            )
        )  # fmt: skip


def _ordinal(day: int) -> str:
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _han(number: int) -> str:
    digits = "零一二三四五六七八九"
    tens, ones = divmod(number, 10)
    start = "" if not tens else ("十" if tens == 1 else digits[tens] + "十")
    return start + (digits[ones] if ones or not tens else "")
