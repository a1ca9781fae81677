"""Guard on a cohort's SQL: one SELECT over the project's own views, and nothing else.

Two checks that share no code. `check_sql_text` tokenizes the text and refuses every sign, function
and relation that is not on a closed list. `check_sql_plan` asks Spark's own parser which relations
it sees. The study then runs in a session whose only views are the project's.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ehr_fhir.errors import Unprocessable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FUNCTIONS = frozenset(
    """abs add_months avg cast ceil coalesce concat count date_add date_diff date_sub datediff
    date_trunc dense_rank first floor greatest if ifnull lag last lead least length lower lpad max
    max_by min min_by month nullif rank round row_number substring sum timestampdiff to_date
    to_timestamp trim try_cast try_divide try_to_timestamp unix_timestamp upper year""".split()
)

# Words that would take a query away from SELECT, or that name a relation in some other way.
REFUSED_WORDS = frozenset(
    """alter analyze cache call clear create current_catalog current_database current_user declare
    delete describe drop execute explain export identifier import insert into lateral load map merge
    msck overwrite pivot recursive reduce refresh replace reset select_all session_user set show
    stream table tablesample transform truncate uncache unpivot update use user using values
    version window""".split()
)

_KEYWORDS_BEFORE_PARENTHESIS = frozenset(
    "all and any as between by case distinct else exists except filter from having in intersect is"
    " join like not on or over rows select then union when where".split()
)
_END_OF_FROM = frozenset("where group having order limit union except intersect select".split())

_TOKEN = re.compile(
    # A comment ends where it ends for Spark (at a carriage return too, not after a backslash), and
    # a bracketed one has no place: text that only one of two readers sees is how a guard is passed.
    r"""(?P<space>\s+|--[^\r\n\\]*)
      | (?P<text>'[^'\\]*')
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign><=|>=|<>|!=|\|\||/(?!\*)|[-+*%=<>(),.])""",
    re.VERBOSE,
)
# Nodes of a parsed plan, one a line, below the strokes that draw the tree.
_NODE = re.compile(r"^[\s:+-]*'?(?P<name>\w+)(?: \[(?P<first>[^\]]*)\])?")
_ALLOWED_NODES = frozenset(
    """Aggregate CTE Distinct Except Filter GlobalLimit Intersect Join LocalLimit OneRowRelation
    Project Sort SubqueryAlias Union UnresolvedHaving UnresolvedRelation""".split()
)


class _Token(NamedTuple):
    kind: str
    text: str


def check_sql_text(sql: str, views: Collection[str]) -> None:
    """Refuse a text that is not one SELECT over these views.

    >>> check_sql_text("SELECT class FROM encounter_flat", {"encounter_flat"})
    >>> check_sql_text("SELECT * FROM silver", {"encounter_flat"})
    Traceback (most recent call last):
    ehr_fhir.errors.Unprocessable: The cohort reads silver, which is not a view of this project.
    """
    tokens = _tokenize(sql)
    if not tokens or tokens[0].text not in {"select", "with"}:
        raise Unprocessable("The cohort is one SELECT, or WITH ... SELECT.")
    _check_words(tokens)
    _check_relations(tokens, set(views))


def check_sql_plan(spark: SparkSession, sql: str, views: Collection[str]) -> None:
    """Refuse a text in which Spark's parser sees any relation but these views, or a command."""
    # Through the JVM: PySpark has no API for the parser.
    session = spark._jsparkSession
    plan = session.sessionState().sqlParser().parsePlan(sql).toString()
    nodes = [match.groupdict("") for match in map(_NODE.match, plan.splitlines()) if match]
    if any(node["name"] not in _ALLOWED_NODES for node in nodes):
        raise Unprocessable("Spark sees something other than a SELECT over views.")
    common_tables = {
        name.strip() for n in nodes if n["name"] == "CTE" for name in n["first"].split(",")
    }
    relations_read = {node["first"] for node in nodes if node["name"] == "UnresolvedRelation"}
    allowed = {name.lower() for name in (*views, *common_tables)}
    if not {name.lower() for name in relations_read} <= allowed:
        raise Unprocessable("Spark sees a relation that is not a view of this project.")


def _tokenize(sql: str) -> list[_Token]:
    tokens, position = [], 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            line = sql.count("\n", 0, position) + 1
            raise Unprocessable(
                f"The cohort has a sign at line {line} that is not allowed "
                "(no backticks, double quotes, backslashes, semicolons, hints or parameters)."
            )
        position = match.end()
        kind = match.lastgroup or ""
        if kind != "space":
            text = match.group().lower() if kind == "word" else match.group()
            tokens.append(_Token(kind, text))
    return tokens


def _check_words(tokens: list[_Token]) -> None:
    for number, token in enumerate(tokens):
        if token.kind != "word":
            continue
        if token.text in REFUSED_WORDS:
            raise Unprocessable(f"The cohort says {token.text.upper()}, which is not allowed.")
        if token.text == "with" and number > 0:
            # A name bound inside would hide from the check what the same name means outside.
            raise Unprocessable("WITH stands only at the very beginning of the cohort.")
        is_call = number + 1 < len(tokens) and tokens[number + 1].text == "("
        if is_call and token.text not in FUNCTIONS | _KEYWORDS_BEFORE_PARENTHESIS:
            raise Unprocessable(f"The cohort calls {token.text}(), which is not allowed.")
        if number + 2 < len(tokens) and tokens[number + 1].text == ".":
            if number + 3 < len(tokens) and tokens[number + 3].text in {".", "("}:
                raise Unprocessable("The cohort uses a name with more than one dot.")


def _check_relations(tokens: list[_Token], views: set[str]) -> None:
    """Check every relation; a common table of WITH counts only after its definition has closed."""
    relations = {view.lower() for view in views}
    in_from_clause = [False]
    defined_name: str | None = None
    in_with_clause = tokens[0].text == "with"
    for number, token in enumerate(tokens):
        if token.text == "(":
            if len(in_from_clause) == 1 and in_with_clause and _opens_common_table(tokens, number):
                defined_name = tokens[number - 2].text
            in_from_clause.append(False)
        elif token.text == ")":
            in_from_clause.pop()
            if not in_from_clause:
                raise Unprocessable("The cohort closes a parenthesis that it never opened.")
            if len(in_from_clause) == 1 and defined_name is not None:
                relations.add(defined_name)
                defined_name = None
        elif token.kind == "word" and token.text in {"from", "join"}:
            _check_relation(tokens[number + 1 : number + 4], relations)
            in_from_clause[-1] = True
        elif token.kind == "word" and token.text in _END_OF_FROM:
            in_from_clause[-1] = False
            in_with_clause = in_with_clause and len(in_from_clause) > 1
        elif token.text == "," and in_from_clause[-1]:
            raise Unprocessable("The cohort lists relations with a comma: write JOIN.")


def _opens_common_table(tokens: list[_Token], number: int) -> bool:
    """Say whether this parenthesis opens a common table expression, `name AS (SELECT`."""
    return (
        number >= 2
        and tokens[number - 1].text == "as"
        and tokens[number - 2].kind == "word"
        and tokens[number + 1 : number + 2] == [_Token("word", "select")]
    )


def _check_relation(following: list[_Token], relations: set[str]) -> None:
    texts = [token.text for token in following]
    if texts[:2] == ["(", "select"]:
        return
    if not following or following[0].kind != "word":
        raise Unprocessable("After FROM or JOIN stands a view of this project, or (SELECT ...).")
    if texts[0] not in relations:
        raise Unprocessable(f"The cohort reads {texts[0]}, which is not a view of this project.")
    if len(texts) > 1 and texts[1] in {".", "("}:
        raise Unprocessable("The cohort names a relation in another catalog or folder.")
