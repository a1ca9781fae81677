"""Our findings beside those of HL7's Java validator on the same files: where they differ, and why.

The table is in docs/reference/validation.md. HL7's runs without a terminology server, as ours does.
Of the examples, which are sound, its errors are left out about codes that it does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lib.examples import examples
from tests.lib.faults import make_faults
from tests.lib.hl7_validator import Message, run_hl7_validator
from tests.lib.us_core import read_us_core

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
# Errors of HL7's validator that ours does not have, by HL7's id.
ONLY_HL7 = {
    # Links and pictures inside narratives.
    "Type_Specific_Checks_DT_XHTML_Resolve",
    "Type_Specific_Checks_DT_XHTML_Resolve_Img",
    # A rule for what HL7 itself publishes.
    "VALIDATION_HL7_WG_NEEDED",
    # A profile that is not loaded: a warning of ours.
    "Validation_VAL_Profile_Unknown",
    # The fullUrl of an entry beside its id; a reference that names an entry by another address.
    "BUNDLE_ENTRY_URL_MATCHES_TYPE_ID",
    "BUNDLE_BUNDLE_ENTRY_NOTFOUND_APPARENT",
}
# Of a Bundle inside a Bundle HL7's knows no `link`, which R4 has; and wants a fullUrl in responses.
ONLY_HL7_EXAMPLES = {"Bundle/bundle-response-medsallergies"}
# Examples of R4 in which ours alone finds an error: unknown modifier extensions (R4 §2.29), and a
# reference to a DeviceDefinition where R4 has Reference(Device).
ONLY_OURS = {"Basic/referral", "DeviceMetric/example"}
# HL7's looks at the types of references only where it can fetch the target.
FAULTS_OF_OURS = {"reference to another type"}
# HL7's refuses a Coding without a code as the code `null`; and it has all of UCUM, our table the
# units in daily use.
FAULTS_OF_HL7 = {"code removed", "other code"}


@pytest.mark.slow
def test_findings_are_those_of_hl7_s_validator(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    us_core = read_us_core(shared_data)
    library = us_core.library()
    sound: dict[str, Mapping[str, Any]] = {
        **{example.address: example.content for example in examples(shared_data)},
        **us_core.examples,
    }
    faulty = {
        (name, fault.kind): fault.resource
        for name, example in us_core.examples.items()
        if example["resourceType"] not in ("Bundle", "Questionnaire")
        for fault in make_faults(example, name, 3)
    }
    files = {**sound, **{"\0".join(key): one for key, one in faulty.items()}}

    answers = run_hl7_validator(us_core, files, tmp_path)
    hl7 = {name: _errors(messages) for name, messages in answers.items()}

    ours = {
        name: {
            (one.expression, one.text)
            for one in library.validate(resource, now=NOW)
            if one.severity == "error"
        }
        for name, resource in files.items()
    }
    for name in sound:
        known = {one for one in hl7[name] if not one[0].lower().startswith("terminology_")}
        more = {identity for identity, _, _ in known} - ONLY_HL7
        assert bool(more) <= (bool(ours[name]) or name in ONLY_HL7_EXAMPLES), (name, known)
        assert bool(ours[name]) <= (bool(known) or name in ONLY_OURS), (name, ours[name])
    table: dict[str, Counter[str]] = {}
    for name, kind in faulty:
        key = f"{name}\0{kind}"
        verdict = (bool(hl7[key] - hl7[name]), bool(ours[key] - ours[name]))
        words = {(True, True): "both", (True, False): "hl7", (False, True): "ours"}
        table.setdefault(kind, Counter())[words.get(verdict, "neither")] += 1
    with capsys.disabled():
        for kind, counts in sorted(table.items()):
            print(kind, dict(counts))  # noqa: T201 - the table of the docs
    assert {kind for kind, counts in table.items() if counts["ours"]} <= FAULTS_OF_OURS
    assert {kind for kind, counts in table.items() if counts["hl7"]} <= FAULTS_OF_HL7


def _errors(messages: list[Message]) -> set[tuple[str, str, str]]:
    """Return id, place and text of the errors."""
    return {
        (one["id"], one["at"], one["text"])
        for one in messages
        if one["severity"] in ("error", "fatal")
    }
