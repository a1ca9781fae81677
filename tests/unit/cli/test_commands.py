"""The `ehr` command: quick to answer, errors in one sentence, tokens alone on their line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ehr_cli.command_group import MOUNTED_COMMANDS
from ehr_cli.commands.default_command import DEFAULT
from ehr_cli.data_folder import prepare_data_folder
from ehr_cli.main import app
from ehr_cli.settings import Settings
from ehr_fhir import errors

runner = CliRunner()


def ehr(*args: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "ehr_cli.main", *args],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_help_lists_every_command_and_loads_nothing_heavy(tmp_path: Path) -> None:
    probe = (
        "import sys; from ehr_cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pyspark', 'fastapi', 'mlflow', 'pandas', 'deltalake', 'ehr_gateway'}\n"
        "sys.stderr.write(str(sorted(heavy & set(sys.modules))))"
    )

    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    for name in ("up", "token", "load", "demo", "doctor", "lake", "research", "models"):
        assert f" {name} " in ran.stdout
    assert ran.stderr == "[]"


def commands() -> dict[str, Any]:
    """Return every command and group by its words, those of other packages too."""
    roots = {"": typer.main.get_command(app)}
    for name, (module, _) in MOUNTED_COMMANDS.items():
        roots[name] = typer.main.get_command(import_module(module).app)
    return {path: command for root in roots for path, command in _tree(root, roots[root])}


def _tree(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        # A command that needs no name is shown without it.
        words = path if name == DEFAULT and path in ("backup", "restore") else f"{path} {name}"
        yield from _tree(words.strip(), subcommand)


@pytest.mark.parametrize("command", sorted(commands()))
def test_help_of_each_command_shows_an_example(command: str) -> None:
    shown = runner.invoke(app, [*command.split(), "--help"])

    assert shown.exit_code == 0
    example = " ".join(shown.output.split()).partition("Example: ")[2]
    assert f"ehr {command}".strip() in example


def test_a_command_ends_quietly_once_nobody_reads_its_output() -> None:
    """As `cat` does in `ehr ... | head`, whichever package a command is of."""
    probe = """
import os, sys
from importlib import import_module
from ehr_cli.command_group import MOUNTED_COMMANDS
from ehr_cli.main import app
for module, _ in MOUNTED_COMMANDS.values():
    import_module(module)
reading, writing = os.pipe()
os.close(reading)
for command in sys.argv[1:]:
    if os.fork() == 0:
        os.dup2(writing, 1)
        app([*command.split(), "--help"])
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status), command)
"""
    known = ["", "lake run", "models train", "research", "token"]

    ran = subprocess.run([sys.executable, "-c", probe, *known], capture_output=True, text=True)

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [f"141 {command}" for command in known]


def test_a_command_needs_no_output() -> None:
    line = '"$0" -m ehr_cli.main token --help >&-'

    ran = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_pipe_that_is_not_the_output_is_a_fault(tmp_path: Path) -> None:
    probe = """
from ehr_cli.main import app
@app.command()
def broken() -> None:
    raise BrokenPipeError
app(["broken"])
"""

    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    assert "Something broke inside (BrokenPipeError)" in ran.stderr and ran.returncode != 141


def test_help_is_quick(tmp_path: Path) -> None:
    def seconds(*command: str) -> float:
        # Processor time, not the clock's: other work on the machine must not fail the test.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Four times what the library of commands takes by itself; with the gateway it were forty.
    library = min(seconds("-c", "import typer.testing, typer.rich_utils") for _ in range(3))
    assert min(seconds("-m", "ehr_cli.main", "--help") for _ in range(3)) < 10 * library


@pytest.mark.parametrize(("command", "word"), [("research", "airlock"), ("models", "train")])
def test_commands_of_other_parts_are_mounted(command: str, word: str) -> None:
    answer = runner.invoke(app, [command, "--help"])

    assert answer.exit_code == 0
    assert word in answer.output


@pytest.mark.parametrize("where", ["toml", "variable"])
def test_commands_of_other_parts_read_the_settings_too(tmp_path: Path, where: str) -> None:
    variables = {"EHR_TOKEN": "t"}
    if where == "toml":
        (tmp_path / "ehr.toml").write_text('data = "mine"\n')
    else:
        variables["EHR_DATA"] = "mine"
    (tmp_path / "mine").mkdir()

    ran = ehr("research", "project", "list", cwd=tmp_path, **variables)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "mine" / "research").exists()
    assert not (tmp_path / "var").exists()


def test_a_wrong_setting_ends_in_one_sentence_and_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "ehr.toml").write_text("prot = 1\n")

    ran = ehr("token", "--user", "nobody", cwd=tmp_path)

    assert ran.returncode == errors.Invalid.exit
    assert ran.stdout == ""
    assert ran.stderr == "There is no setting prot (ehr.toml). Did you mean port?\n"


def test_a_postgresql_address_is_refused_plainly(tmp_path: Path) -> None:
    ran = ehr("up", "--database", "mysql://db/ehr", cwd=tmp_path)

    assert ran.returncode == errors.Invalid.exit
    assert ran.stderr.startswith(
        "database must be sqlite, for a file in the data folder, or an address such as"
    )
    assert not (tmp_path / "var").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = ehr("token", "--user", "a", "--client", "b", cwd=tmp_path, EHR_DEBUG="1")

    assert "Traceback" in ran.stderr


def test_a_token_is_printed_alone_and_names_the_client(tmp_path: Path) -> None:
    prepare_data_folder(Settings(data=tmp_path / "data"))
    scope = "system/*.cruds"

    ran = ehr("token", "--client", "x", "--scope", scope, "--data", "data", cwd=tmp_path)

    assert ran.returncode == 0
    assert ran.stderr == ""
    [token] = ran.stdout.splitlines()
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["client_id"] == "x"
    assert claims["scope"] == scope
    assert claims["ehr"]["role"] == "system"


def test_a_token_for_an_unknown_user_is_refused(tmp_path: Path) -> None:
    prepare_data_folder(Settings(data=tmp_path / "data"))
    ran = ehr("token", "--user", "nobody", "--data", "data", cwd=tmp_path)

    assert ran.returncode == errors.NotFound.exit
    assert ran.stdout == ""
    assert ran.stderr == "There is no such account.\n"


def test_a_token_loads_no_spark(tmp_path: Path) -> None:
    prepare_data_folder(Settings(data=tmp_path / "data"))
    probe = (
        "import sys; from ehr_cli.main import app\n"
        "try: app(['token', '--client', 'x', '--data', 'data'])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str('pyspark' in sys.modules))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True
    )

    assert ran.stderr == "False"


def test_a_gateway_starts_without_dictionaries_and_recognizers() -> None:
    """They take some seconds to load; the first comparison of names loads what it needs."""
    probe = (
        "import sys; import ehr_gateway.app\n"
        "heavy = {'ToJyutping', 'pypinyin', 'presidio_analyzer', 'pandas', 'numpy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    assert ran.stdout == "[]\n", ran.stderr


def test_a_token_acts_for_the_organisation_that_is_named(tmp_path: Path) -> None:
    prepare_data_folder(Settings(data=tmp_path / "data"))
    words = ("token", "--client", "x", "--organization", "ha-harbour", "--data", "data")

    ran = ehr(*words, cwd=tmp_path)

    claims = json.loads(urlsafe_b64decode(ran.stdout.split(".")[1] + "=="))
    assert claims["ehr"]["organization"] == "ha-harbour"
    refused = ehr(*words[:1], "--user", "admin", *words[3:], cwd=tmp_path)
    assert refused.stderr == "An account has its own organisation; name one for a client only.\n"


# Every command that works on a platform which must be there.
NEEDING_A_PLATFORM = (
    ("up",),
    ("token", "--client", "x"),
    ("account", "list"),
    ("account", "add", "a.b", "--role", "steward", "--name", "A B"),
    ("account", "disable", "a.b"),
    ("account", "enable", "a.b"),
    ("account", "reset", "a.b"),
    ("client", "list"),
    ("client", "invite", "--scope", "patient/*.rs"),
    ("client", "delete", "x"),
    ("keys", "rotate"),
    ("audit", "verify"),
    ("audit", "checkpoint"),
    ("lake", "quality"),
    ("lake", "run"),
    ("lake", "follow"),
    ("lake", "status"),
    ("lake", "rebuild", "deid"),
    ("research", "project", "list"),
    ("research", "airlock", "list"),
    ("models", "card"),
)


@pytest.mark.parametrize("words", NEEDING_A_PLATFORM, ids=" ".join)
def test_a_mistyped_data_folder_is_refused_and_not_made(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    answer = runner.invoke(app, [*words, "--data", str(tmp_path / "mistyped")])

    assert answer.exit_code == errors.NotFound.exit
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("up",), ("up", "--new"), ("load", "in.json"), ("token",)])
def test_a_folder_of_other_files_is_left_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "in.json").write_text('{"resourceType": "Patient", "id": "a"}')
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "letter.txt").write_text("Dear")
    client = ("--client", "x") if words == ("token",) else ()

    ran = ehr(*words, *client, "--data", "home", cwd=tmp_path)

    assert ran.returncode == errors.Conflict.exit
    assert "home is not empty and holds no platform, so it is left alone." in ran.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o755


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    ran = ehr("load", "nowhere.ndjson", cwd=tmp_path)

    assert ran.returncode == errors.NotFound.exit
    assert ran.stderr == "There is no file or folder nowhere.ndjson.\n"


def test_the_lake_says_when_no_gateway_answers(tmp_path: Path) -> None:
    prepare_data_folder(Settings(data=tmp_path / "data"))

    ran = ehr("lake", "run", "--data", "data", "--feed", "http://127.0.0.1:9", cwd=tmp_path)

    assert ran.returncode == errors.Unavailable.exit
    assert ran.stderr == "The gateway does not answer: is `ehr up` running?\n"


def test_the_quality_results_of_no_run_are_not_there(tmp_path: Path) -> None:
    ran = ehr("lake", "quality", "--data", "data", cwd=tmp_path)

    assert ran.returncode == errors.NotFound.exit
    assert "run `ehr lake run` first" in ran.stderr
