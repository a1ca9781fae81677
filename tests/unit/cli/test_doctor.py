"""`ehr doctor`: every problem comes with what to do about it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ehr_cli.commands import doctor
from ehr_cli.settings import Settings


def test_every_subject_is_looked_at(tmp_path: Path) -> None:
    findings = doctor.run_checks(Settings(data=tmp_path / "data"))

    subjects = [finding.subject for finding in findings]
    assert subjects == [
        *("Java", "Delta's jar", "disk", "data folder", "leftovers", "journal", "port", "clock"),
        "clock and records",
    ]


def test_a_taken_port_is_a_problem_with_advice() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        finding = doctor.check_port("127.0.0.1", taken.getsockname()[1])

    assert not finding.is_ok
    assert "--port" in finding.advice


def test_a_data_folder_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    finding = doctor.check_data_folder(tmp_path)

    assert not finding.is_ok
    assert "chmod 700" in finding.advice


def test_a_data_folder_of_ones_own_is_well(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    assert doctor.check_data_folder(tmp_path).is_ok


def test_a_clock_before_the_platform_began_is_a_problem() -> None:
    assert not doctor.check_clock(0).is_ok
    assert doctor.check_clock(1_800_000_000).is_ok


def test_a_missing_java_is_a_problem_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    finding = doctor.check_java()

    assert not finding.is_ok
    assert "Java" in finding.advice


def test_the_report_says_whether_all_is_well(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    lines: list[str] = []

    well = doctor.print_report(Settings(data=tmp_path), lines.append)

    assert not well
    assert any(line.startswith("PROBLEM data folder") for line in lines)
    assert any("chmod 700" in line for line in lines)
