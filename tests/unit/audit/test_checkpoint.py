"""Checkpoints: signed notes that a witness can read, and no forged one."""

from __future__ import annotations

import base64
import os
from hashlib import sha256
from pathlib import Path

import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_privacy.audit import (
    Checkpoint,
    Signer,
    open_note,
    public_key,
    row_leaf,
    verifier_key,
)
from ehr_privacy.audit.tiles import Tile

NAME = "ehr-commons.hk/audit"
SIGNER = Signer(NAME, bytes(range(32)))
ROOT = sha256(b"root").digest()


def test_a_note_has_the_published_form() -> None:
    lines = SIGNER.note(7, ROOT).decode().split("\n")

    assert lines[:4] == [NAME, "7", base64.b64encode(ROOT).decode(), ""]
    assert lines[4].startswith(f"\u2014 {NAME} ")
    signature = base64.b64decode(lines[4].rpartition(" ")[2])
    assert signature[:4] == sha256(f"{NAME}\n".encode() + b"\x01" + SIGNER.public).digest()[:4]
    assert len(signature) == 68
    assert lines[5:] == [""]


def test_a_witness_reads_it_with_the_verifier_key_alone() -> None:
    name, public = public_key(verifier_key(NAME, SIGNER.public))

    assert open_note(SIGNER.note(7, ROOT), name, public) == Checkpoint(NAME, 7, ROOT)


def test_the_example_of_the_published_specification_is_read() -> None:
    # C2SP signed-note: its own key and note.
    key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

    assert verifier_key(*public_key(key)) == key


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n7\n", "\n8\n"), (NAME, "other"), ("\n\n", "\nmore\n\n"), ("\u2014 ehr", "\u2014 xhr")],
)
def test_a_note_changed_anywhere_is_refused(old: str, new: str) -> None:
    changed = SIGNER.note(7, ROOT).decode().replace(old, new, 1).encode()

    with pytest.raises(Invalid, match="checkpoint"):
        open_note(changed, NAME, SIGNER.public)


def test_a_note_signed_by_another_key_under_the_same_name_is_refused() -> None:
    forged = Signer(NAME, bytes(32)).note(7, ROOT)

    with pytest.raises(Invalid, match="forged"):
        open_note(forged, NAME, SIGNER.public)


@pytest.mark.parametrize(
    "note", [b"", b"x", b"\xff\n1\n\n", b"a\n1\nnot base64!\n\n", b"a\n-1\n\n\n"]
)
def test_what_is_no_checkpoint_is_refused(note: bytes) -> None:
    with pytest.raises(Invalid):
        open_note(note, NAME, SIGNER.public)


@pytest.mark.parametrize("key", ["", "a+b", "n+00000000+AQID", "n+zz+ARpc"])
def test_what_is_no_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        public_key(key)


def test_equal_rows_have_different_leaves() -> None:
    row = ("id", 1, None, "Patient/1")

    assert row_leaf(bytes(16), row) != row_leaf(b"\x01" + bytes(15), row)
    assert row_leaf(bytes(16), row) == row_leaf(bytes(16), list(row))


def test_what_a_checkpoint_signs_for_is_on_disk_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: settled.append(Path(f"/proc/self/fd/{file}").readlink().name)
    )
    folder = LogFolder(tmp_path)

    folder.write_tile(Tile(0, 0, bytes(32)))
    folder.publish_checkpoint(b"note\n", 0)

    assert settled.index("1") < settled.index("000.p") < settled.index("checkpoint.new")
    assert (tmp_path / "checkpoint").read_bytes() == b"note\n"
