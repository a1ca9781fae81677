"""The container file, the systemd unit and the proxy's configuration pass their own linters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed on this machine")
    return subprocess.run(command, capture_output=True, text=True)


def test_the_container_file_passes_hadolint() -> None:
    hadolint = Path(sys.prefix) / "bin" / "hadolint"

    linted = _run(str(hadolint), str(ROOT / "Containerfile"))

    assert linted.returncode == 0, linted.stdout


def test_the_container_file_copies_what_the_project_has() -> None:
    text = (ROOT / "Containerfile").read_text("utf-8")

    module = text.partition("RUN python -m ehr_")[2].split()[0]
    assert (ROOT / "etl" / Path(*f"ehr_{module}".split("."))).with_suffix(".py").exists()


def test_the_unit_passes_systemd_analyze(tmp_path: Path) -> None:
    # Verified where the program lies on this machine: on the operator's it lies in /opt.
    unit = tmp_path / "ehr-commons.service"
    text = (ROOT / "cli" / "setup" / "ehr-commons.service").read_text("utf-8")
    program = Path(sys.prefix) / "bin" / "ehr"
    unit.write_text(text.replace("/opt/ehr-commons/.venv/bin/ehr", str(program)), "utf-8")

    verified = _run("systemd-analyze", "verify", str(unit))

    ours = [line for line in verified.stderr.splitlines() if "ehr-commons" in line]
    assert ours == []


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    server = (ROOT / "cli" / "setup" / "nginx.conf").read_text("utf-8")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = _run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        "-subj", "/CN=ehr.example.org", "-keyout", str(key), "-out", str(certificate),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    server = server.replace("/etc/ssl/ehr/fullchain.pem", str(certificate))
    server = server.replace("/etc/ssl/ehr/privkey.pem", str(key))
    whole = tmp_path / "nginx.conf"
    paths = "".join(
        f"    {name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole.write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n    access_log off;\n{paths}{server}}}\n",
        "utf-8",
    )

    tested = _run("nginx", "-t", "-c", str(whole), "-p", str(tmp_path))

    assert tested.returncode == 0, tested.stderr
