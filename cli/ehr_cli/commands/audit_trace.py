"""`ehr audit trace` and `verify-trace`: from a released table back to data, rules and decisions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ehr_fhir.errors import NotFound
from ehr_privacy.audit import TraceLine, build_line, parse_trace, public_key, verify_trace

if TYPE_CHECKING:
    from ehr_gateway.audit_log.trace import Trace
    from ehr_gateway.settings import GatewaySettings

__all__ = ["check_proof_file", "show_trace"]

_MARKS = {"shown": "", "gap": "NOT SHOWN: ", "fault": "FAULT: "}


def show_trace(
    settings: GatewaySettings, release: str, *, as_json: bool, proof: Path | None
) -> None:
    """Print where a release came from; exit with 1 where anything is not as the log says."""
    trace = _trace(settings, release)
    if proof is not None:
        proof.write_text(json.dumps(trace.document, indent=2, ensure_ascii=False), "utf-8")
    _print_lines(trace.lines, as_json=as_json)


def check_proof_file(file: Path, key: Path, folder: Path | None, *, as_json: bool) -> None:
    """Verify a trace by the log's public key alone, and the released files if they are there."""
    trace = parse_trace(_read(file))
    name, public = public_key(_read(key).decode())
    lines = verify_trace(trace, name, public)
    if folder is not None:
        lines += _check_files(folder, trace["release"]["files"])
    _print_lines(lines, as_json=as_json)


def _trace(settings: GatewaySettings, release: str) -> Trace:
    from ehr_cli.research_lineage import RegisterLineage
    from ehr_gateway.audit_log.lineage import record_new_lineage
    from ehr_gateway.audit_log.service import open_audit_log
    from ehr_gateway.audit_log.trace import trace_release
    from ehr_gateway.database import open_database
    from ehr_gateway.oauth.offline_tokens import now_ms

    database = open_database(settings.database)
    try:
        log, source = open_audit_log(settings, database, now_ms), RegisterLineage(settings.data)
        # So that the newest steps are signed for, too.
        record_new_lineage(database, source, now_ms)
        log.sign()
        return trace_release(log, source, release)
    finally:
        database.close()


def _check_files(folder: Path, files: Mapping[str, str]) -> Iterator[TraceLine]:
    for name, digest in sorted(files.items()):
        path = folder / Path(name).name
        if not path.is_file():
            yield build_line("files", "gap", "file-gone", file=name)
        elif hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            yield build_line("files", "shown", "file-same", file=name)
        else:
            yield build_line("files", "fault", "file-changed", file=name)


def _print_lines(lines: Sequence[TraceLine], *, as_json: bool) -> None:
    is_sound = all(line.state != "fault" for line in lines)
    if as_json:
        report: dict[str, Any] = {"sound": is_sound, "lines": list(map(_describe, lines))}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for line in lines:
            leaf = "" if line.leaf is None else f"  [leaf {line.leaf}]"
            typer.echo(f"{line.part:<11} {_MARKS[line.state]}{line.text}{leaf}")
        gaps = sum(line.state == "gap" for line in lines)
        if is_sound:
            rest = f"; {gaps} things cannot be shown" if gaps else ""
            typer.echo(f"Everything shown is as it was signed for{rest}.")
    if not is_sound:
        typer.echo("The release is NOT what the log says.", err=True)
        raise typer.Exit(1)


def _describe(line: TraceLine) -> dict[str, Any]:
    return {"part": line.part, "state": line.state, "text": line.text, "leaf": line.leaf}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"The file {path.name} cannot be read.") from error
