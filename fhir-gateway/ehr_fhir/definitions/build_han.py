"""Make han.json from the dictionaries of OpenCC; run by hand, never at runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def build(dictionaries: Path) -> None:
    """Write which characters stand for which others, as two strings of one length."""
    simplified = _first(dictionaries / "TSCharacters.txt")
    for general, regional in _first(dictionaries / "HKVariants.txt").items():
        # Shapes of one region, such as 衞 for 衛.
        simplified.setdefault(regional, simplified.get(general, general))
    pairs = {}
    for character in sorted(simplified):
        end = character
        # Some lead on: 薴 to 苧 to 苎. A character that leads back ends the way.
        seen = {end}
        while (after := simplified.get(end, end)) not in seen:
            seen.add(after)
            end = after
        if end != character:
            pairs[character] = end
    content = {"from": "".join(pairs), "to": "".join(pairs.values())}
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (HERE / "han.json").write_text(text + "\n", encoding="utf-8")


def _first(path: Path) -> dict[str, str]:
    """Read lines of a character, a tab, and what it may become, the likeliest first."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0]: words[1] for words in lines if len(words[0]) == len(words[1]) == 1}


if __name__ == "__main__":
    build(Path(sys.argv[1]))
