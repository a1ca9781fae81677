"""The lake's data files and small pure parts."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException

from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.spark import jars, java
from ehr_etl.spark.java_errors import translate_java_error, translate_java_errors
from ehr_etl.spark.sql_text import sql_literal
from ehr_fhir.errors import Conflict, Fault, Unavailable, Unprocessable


def test_the_quality_rules_load_and_name_each_rule_once() -> None:
    rules = load_quality_rules()

    assert len(rules.rules) >= 40
    assert rules.is_error("period-in-order")


def test_no_quality_rule_depends_on_the_clock() -> None:
    folder = files("ehr_etl.data_quality")
    code = [item.read_text() for item in folder.iterdir() if item.name.endswith("rules.py")]

    assert len(code) == 3
    assert not [word for text in code for word in ("time.time", ".now(", "today(") if word in text]


def test_two_rules_of_one_name_are_refused() -> None:
    rule = '[[rule]]\nname = "a"\nkind = "birth"\nseverity = "error"\nscope = []\nsource = "s"\n'

    with pytest.raises(Fault, match="two rules alike"):
        load_quality_rules(f"never_held = []\nvoided = {{}}\n{rule}{rule}")


def test_a_rule_without_a_source_is_refused() -> None:
    rule = '[[rule]]\nname = "a"\nkind = "birth"\nseverity = "error"\nscope = []\n'

    with pytest.raises(Fault, match="source"):
        load_quality_rules(f"never_held = []\nvoided = {{}}\n{rule}")


def test_a_text_cannot_end_the_literal_it_stands_in() -> None:
    assert sql_literal("x' OR 1=1 --") == "'x\\' OR 1=1 --'"
    assert sql_literal("\\' OR") == "'\\\\\\' OR'"


def test_a_value_of_another_kind_is_a_fault() -> None:
    with pytest.raises(Fault):
        sql_literal(1.5)


def test_the_text_of_a_java_error_does_not_pass() -> None:
    for error, kind in [
        (Py4JError("value 'Chan Tai Man' ConcurrentAppendException"), Conflict),
        (Py4JError("java.lang.OutOfMemoryError: 'Chan Tai Man'"), Unavailable),
        (Py4JError("ehr:more-than-one 'Chan Tai Man'"), Unprocessable),
        (Py4JError("PATH_NOT_FOUND 'Chan Tai Man'"), Unavailable),
        (Py4JError("anything 'Chan Tai Man'"), Fault),
    ]:
        shown = translate_java_error(error, "testing")
        assert type(shown) is kind
        assert "Chan" not in str(shown)


def test_an_error_inside_the_block_is_translated() -> None:
    with pytest.raises(Fault, match="while testing"), translate_java_errors("testing"):
        raise AnalysisException("secret")


def test_java_too_old_or_absent_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_1\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    with pytest.raises(Unavailable, match="Java 17 or newer"):
        java.find_java_home()


def test_java_home_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "bin" / "java"
    new.parent.mkdir()
    new.write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\"' >&2\n")
    new.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert java.find_java_home() == tmp_path


def test_cached_jars_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ehr-commons" / jars.maven_coordinate().split(":", 1)[1].replace(":", "-")
    (folder / "jars").mkdir(parents=True)
    (folder / "jars" / "io.delta_delta-spark.jar").touch()
    monkeypatch.setattr(subprocess, "Popen", None)

    assert [jar.name for jar in jars.fetch_jars(cache=tmp_path)] == ["io.delta_delta-spark.jar"]
