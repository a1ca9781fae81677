"""Which passwords are taken, and that they are taken as they are typed."""

from __future__ import annotations

import pytest

from ehr_gateway.accounts.passwords import find_password_fault
from ehr_gateway.tokens.secret_hashes import hash_secret, verify_secret


@pytest.mark.parametrize(
    "password",
    ["hospital2026", "Hong Kong 1997", "EHRcommons!!!!", "ehr-commons 123", "ＨＯＳＰＩＴＡＬ2026!",
     "iamsmart12345", "dr.chan.dr.chan", "doctordoctor1"],
)  # fmt: skip
def test_words_of_ours_make_no_password(password: str) -> None:
    assert find_password_fault(password, "dr.chan") == "password_common"


@pytest.mark.parametrize(
    "password",
    ["a fine long phrase", "小心駛得萬年船，穩當最緊要", "  spaces at both ends  ",
     "X" * 5 + "abcdefgh" * 8, "my hospital has nine purple lifts", "ſtraße-ǅ-Ω-0123",
     "🐟🐠🐡🦈🐙🐚🦀🦞🦐🦑🐌🦋"],
)  # fmt: skip
def test_any_characters_make_a_password(password: str) -> None:
    assert find_password_fault(password, "dr.chan") == ""

    stored = hash_secret(password)
    assert verify_secret(stored, password)
    for other in (password.strip() + "!", password.swapcase() + "?", password[:64], password[:-1]):
        assert other == password or not verify_secret(stored, other)
