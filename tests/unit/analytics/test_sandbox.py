"""Attempts to break out of the sandbox, and what own code's outputs may hold."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ehr_analytics import airlock, code_run
from ehr_analytics.dummy_data import write_dummy_data
from ehr_analytics.output_checks import find_image_fault
from ehr_analytics.run_log import run_folder
from ehr_analytics.sandbox.pictures import keep_picture
from ehr_analytics.sandbox.process import SandboxLimits, run_sandboxed
from ehr_fhir.errors import Forbidden, Unprocessable
from tests.lib import gold
from tests.lib.research import open_project, register

# Each attempt is one line of Python; it is stopped when it raises or gives something empty.
ATTEMPTS = {
    "open a TCP socket": "__import__('socket').socket()",
    "open a UNIX socket": "__import__('socket').socketpair()",
    "resolve a name": "__import__('socket').gethostbyname('example.org')",
    "fetch a page": "__import__('urllib.request').request.urlopen('http://127.0.0.1:80')",
    "read the users": "open('/etc/passwd').read()",
    "list the root": "os.listdir('/')",
    "list another's temporary files": "os.listdir('/tmp')",
    "read the environment of a process": "open('/proc/self/environ').read()",
    "read the parent's memory": "open(f'/proc/{__import__(\"os\").getppid()}/mem','rb').read(1)",
    "read the data folder": "open(SECRET).read()",
    "read it by a link": "(os.symlink(SECRET, 'link'), open('link').read())",
    "read it by a hard link": "(os.link(SECRET, 'hard'), open('hard').read())",
    "read it by Arrow": "__import__('pyarrow').OSFile(SECRET).read()",
    "write beside the work folder": "open('/tmp/ehr-sandbox-escaped', 'w').write('x')",
    "write into a library": "open(os.__file__, 'a').write('')",
    "start a program": "__import__('subprocess').run(['/bin/true'])",
    "start a shell": "os.system('true') == 0 or 1 / 0",
    "replace itself": "os.execv('/bin/true', ['true'])",
    "leave a process behind": "os.fork()",
    "call by number": "LIBC.syscall(41, 2, 1, 0) >= 0 or 1 / 0",
    "call by the x32 table": "LIBC.syscall(0x40000029, 2, 1, 0) >= 0 or 1 / 0",
    "signal the parent": "os.kill(os.getppid(), 0)",
    "mount": "LIBC.mount(b'x', b'/', b'tmpfs', 0, None) == 0 or 1 / 0",
    "trace another": "LIBC.ptrace(16, os.getppid()) == 0 or 1 / 0",
    "new namespaces": "LIBC.unshare(0x10000000) == 0 or 1 / 0",
    "raise its own limits": "__import__('resource').setrlimit(7, (9999, 9999))",
    "environment": "[k for k in os.environ if k not in ('HOME', 'MPLCONFIGDIR', 'LC_ALL')][0]",
    "a network card": "[n for n in __import__('socket').if_nameindex() if n[1] != 'lo'][0]",
}  # fmt: skip


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


FORGED = b'{"error": "born_1936_male", "layers": {"files": true, "calls": true}}'
PEOPLE = {"people": parquet(pa.table({"person": ["a", "b"], "age": [70, 80]}))}


def test_no_attempt_to_break_out_succeeds(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a row")
    code = f"SECRET = {str(secret)!r}\nATTEMPTS = {ATTEMPTS!r}\n" + (
        "import csv, ctypes, os\n"
        "LIBC = ctypes.CDLL(None)\n"
        "with open('outcomes.csv', 'w', newline='') as out:\n"
        "    writer = csv.writer(out)\n"
        "    for name, attempt in ATTEMPTS.items():\n"
        "        try:\n"
        "            eval(attempt)\n"
        "            writer.writerow([name, 'succeeded'])\n"
        "        except BaseException as error:\n"
        "            writer.writerow([name, type(error).__name__])\n"
        "        out.flush()\n"
    )

    result = run_sandboxed(code, PEOPLE, ["outcomes.csv"])

    outcomes = dict(csv.reader(io.StringIO(result.files["outcomes.csv"].decode())))
    assert outcomes.keys() == ATTEMPTS.keys()
    assert [name for name, outcome in outcomes.items() if outcome == "succeeded"] == []
    assert result.layers["files"] and result.layers["calls"]


def test_threads_of_a_library_read_no_more_than_the_code(tmp_path: Path) -> None:
    # Landlock holds per thread: a pool that was started before it read every file for the code.
    (tmp_path / "secret.csv").write_text("a row\n")
    path = str(tmp_path / "secret.csv")
    duckdb = f"import duckdb\nprint(duckdb.read_csv({path!r}).fetchall())"
    arrow = f"import pyarrow.csv\nprint(pyarrow.csv.read_csv({path!r}))"

    for code in (duckdb, arrow):
        result = run_sandboxed(code, PEOPLE, [])
        assert result.error and b"a row" not in result.log


def test_an_analysis_works_and_gives_what_it_declared() -> None:
    code = """
import matplotlib.pyplot as plt, scipy.stats
people = tables["people"]
(outputs / "ages.csv").write_text(f"mean\\n{people['age'].mean():.3g}\\n")
(outputs / "not-declared.csv").write_text("everything")
plt.bar(["a"], [1]); plt.savefig("plot.png", metadata={"Comment": "a row"})
print("a row in the log")
import os
try:
    os.symlink("ages.csv", "link.csv")
except OSError:
    pass
"""

    result = run_sandboxed(code, PEOPLE, ["ages.csv", "plot.png", "link.csv"])

    assert result.error == ""
    assert result.files.keys() == {"ages.csv", "plot.png"}
    assert result.files["ages.csv"] == b"mean\n75\n"
    assert b"a row" in result.log
    assert find_image_fault(result.files["plot.png"]) == "it has a part that is no picture"
    picture = keep_picture(result.files["plot.png"])
    assert find_image_fault(picture) is None and b"a row" not in picture


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ValueError(str(tables['people']))", "ValueError"),
        ("raise type('born_1936_male', (Exception,), {})()", "Exception"),
        (f"import os\nfor fd in range(3, 20):\n    try: os.write(fd, {FORGED!r})\n"
         # Written into two descriptors of one pipe it is no answer at all.
         "    except OSError: pass\nos._exit(0)", "Exception|MemoryError"),
        ("x = bytearray(3_000_000_000)", "MemoryError"),
        ("while True: pass", "MemoryError|TimeoutError"),
    ],
    ids=["text", "class", "forged answer", "memory", "time"],
)  # fmt: skip
def test_a_failure_tells_nothing_of_the_rows(code: str, error: str) -> None:
    limits = SandboxLimits(memory_mb=512, seconds=4 if "while" in code else 60)

    result = run_sandboxed(code, PEOPLE, [], limits)

    assert result.error in error.split("|")


@pytest.mark.parametrize("name", ["../x.csv", "/etc/x.csv", ".csv", "", "x" * 80 + ".csv"])
def test_a_declared_output_is_no_path(name: str) -> None:
    with pytest.raises(Unprocessable):
        run_sandboxed("", {}, [name])


def png(*chunks: tuple[bytes, bytes], after: bytes = b"") -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + after


@pytest.mark.parametrize(
    "content",
    [
        png((b"IHDR", b"x"), (b"tEXt", b"Comment\0a row"), (b"IEND", b"")),
        png((b"IHDR", b"x"), (b"tEXt", b"Title\0" + b"row " * 200), (b"IEND", b"")),
        png((b"IHDR", b"x"), (b"eXIf", b"a row"), (b"IEND", b"")),
        png((b"IHDR", b"x"), (b"IEND", b""), after=b"a row"),
        png((b"IHDR", b"x")),
    ],
    ids=["comment", "long title", "exif", "after the end", "no end"],
)
def test_nothing_rides_along_with_a_picture(content: bytes) -> None:
    assert find_image_fault(content) is not None
    assert b"row" not in keep_picture(content)


def test_own_code_runs_on_the_projects_columns_and_needs_people(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(40))
    book = register(tmp_path)
    open_project(book)
    file = tmp_path / "mine.py"
    file.write_text(
        "t = tables['patient_demographics']\n"
        "t.groupby('gender', as_index=False).size().to_csv(outputs / 'sexes.csv', index=False)\n"
        "(outputs / 'ids.csv').write_text('x\\n' + '\\n'.join(t['id']))\n"
    )

    run, ended = code_run.run_code_file(
        book, "acute-returns", file, ["sexes.csv"], "researcher.lau", withheld=()
    )
    proposed = airlock.propose_outputs(book, run.id, "researcher.lau")

    assert ended and proposed.passed and proposed.is_unsafe
    evidence = airlock.read_evidence(book, run.id)
    assert [cell["labels"] for cell in evidence] == [{"column": "gender"}, {"column": "size"}]
    with pytest.raises(Unprocessable, match="unsafe output"):
        airlock.record_decision(book, run.id, "steward.ng", "approve", "fine")
    airlock.record_decision(book, run.id, "steward.ng", "approve", "two rows", is_unsafe=True)
    with pytest.raises(Forbidden):
        code_run.run_code_file(
            book, "acute-returns", file, ["sexes.csv"], "somebody.else", withheld=()
        )
    raw = b"".join(p.read_bytes() for p in run_folder(book, run.id).rglob("*") if p.is_file())
    assert not [p for p in gold.made_up(40)["patient_demographics"]["id"] if p.encode() in raw]

    leaking, _ = code_run.run_code_file(
        book, "acute-returns", file, ["ids.csv"], "researcher.lau", withheld=()
    )
    assert not airlock.propose_outputs(book, leaking.id, "researcher.lau").passed


def test_dummy_data_has_the_shape_and_no_value_of_the_lake(tmp_path: Path) -> None:
    views = gold.made_up(40)
    gold.write(tmp_path, views)
    book = register(tmp_path)
    project = open_project(book)

    files = write_dummy_data(book, project, tmp_path / "home", people=20)

    tables = {path.stem: pyarrow.parquet.read_table(path) for path in files}
    assert {name: tuple(t.column_names) for name, t in tables.items()} == project.columns_by_view()
    people = set(tables["patient_demographics"]["id"].to_pylist())
    assert len(people) == 20 and set(tables["encounter_flat"]["patient_id"].to_pylist()) <= people
    assert not people & set(views["patient_demographics"]["id"])
    assert not set(tables["encounter_flat"]["reason_code"].drop_null().to_pylist()) & set(
        views["encounter_flat"]["reason_code"]
    )
