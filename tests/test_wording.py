"""Every message, option help, rule text and document is in idiomatic English."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

from xcomctl import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "xcomctl"

BANNED = (
    r"\bwhat there is\b",
    r"\bso (large|small|many|much)\b(?! that)",
    r"\b(is|are) there already\b",
    r"\b(is|are) there now\b",
    r"\b(is|are) there\.",
    r"(?<!there )\bis no (cursor|regular file|valid|such|file|table|DAG|run|task|key|XCom)\b",
    r"\bis told\b|\bare told\b|\bwas told\b|\btold (as|apart|twice)\b",
    r"\bgo(es|ing) on\b",
    r"\b(none|one) of which\b|\bof which (none|one)\b",
    r"\b(this|it|that) is of (a )?(run|another)\b",
    r"\bSay -",
    r"\bsays so\b",
    r"\bstands in\b|\bin the way\b",
    r"\bno bound\b",
    r"\bfrom where on\b",
    r"\bat (least|most) so\b",
    r"\bshow round\b",
    r"\bwhere nobody can be asked\b",
    r"\bleft alone\b",
    r"\ball the same\b",
    r"\bbegin anew\b",
    r"\bsomebody else\b",
    r"\bdid not foresee\b",
    r"\bcontradict each other\b",
    r"\bof its own\b|\bof their own\b",
    r"\bwho fills\b",
    r"\bappears when it is whole\b",
    r"\bcase study's figure\b",
    r"\bjudged\b|\bjudging\b",
    r"\btakes? them, too; ",
    r"\badmits?\b",
    r"\bmay not (read|write)\b",
    r"\bserver answers\b",
    r"\bthere is no such\b|\bis there twice\b",
    r"\b(takes?|names?) no (statements|run|schema)\b|\bno connection left\b",
    r"^It is one of\b",
)
"""Phrases that no reader should meet: stiff, or a riddle. Case does not matter."""

ERRORS = frozenset(
    one.__name__
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.XcomctlError)
)
CONSOLE = frozenset({"note", "warn"})
SENTENCES = frozenset({"detail", "hint"})

Kind = Literal["error", "line", "sentence", "help", "rule"]


class Message(NamedTuple):
    """A text that a person reads; `…` stands for what is filled in."""

    place: str
    kind: Kind
    text: str


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression can have, with `…` for each value that is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(p.value if isinstance(p, ast.Constant) else "…" for p in parts)  # type: ignore[misc]
        case ast.IfExp(body=first, orelse=second):
            yield from _texts(first)
            yield from _texts(second)
        case ast.BoolOp(values=choices):
            for choice in choices:
                yield from _texts(choice)


def _of_call(call: ast.Call) -> Iterator[tuple[Kind, ast.expr]]:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case _:
            return
    if name in ERRORS and call.args:
        yield "error", call.args[0]
    elif name in CONSOLE and call.args:
        yield "line", call.args[0]
    elif name == "Diagnosis":
        yield from zip(("line", "sentence"), call.args, strict=False)
    for keyword in call.keywords:
        if keyword.arg in SENTENCES:
            yield "sentence", keyword.value
        elif keyword.arg == "help":
            yield "help", keyword.value
        elif name == "Rule" and keyword.arg in {"title", "why", "fix", "message"}:
            yield "rule", keyword.value


def _literals() -> Iterator[tuple[str, str]]:
    """Yield place and text of every sentence in the code: in constants and tables, too.

    A sentence has three words or more. Docstrings are for programmers.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {
            id(part)
            for node in ast.walk(tree)
            for part in (
                node.values
                if isinstance(node, ast.JoinedStr)
                else [node.value]
                if isinstance(node, ast.Expr)
                else ()
            )
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner:
                for text in _texts(node):
                    if len(text.split()) > 2:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _messages() -> Iterator[Message]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for kind, value in _of_call(node):
                    for text in _texts(value):
                        place = f"{path.relative_to(ROOT)}:{value.lineno}"
                        yield Message(place, kind, text)


MESSAGES = tuple(_messages())


def _banned(text: str) -> list[str]:
    return [found[0] for p in BANNED if (found := re.search(p, text, re.IGNORECASE))]


def test_messages_are_found() -> None:
    """The collector sees every kind, so that the checks below hold something."""
    for kind in ("error", "line", "sentence", "help"):
        assert sum(one.kind == kind for one in MESSAGES) > 15, kind


def test_no_message_has_a_banned_phrase() -> None:
    """Nor a stiff phrase in notes, hints, help or rule texts."""
    assert [(one, found) for one in MESSAGES if (found := _banned(one.text))] == []


def test_no_text_in_the_code_has_a_banned_phrase() -> None:
    """Whatever it is passed to: reasons, causes, hints of diagnoses, parts of messages."""
    literals = list(_literals())
    assert len(literals) > 1000
    reasons = " ".join(text for _, text in literals)
    assert "the server closed the connection" in reasons
    assert "which Airflow does not store" in reasons
    assert [(place, text, found) for place, text in literals if (found := _banned(text))] == []


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(PACKAGE.rglob("docs/*.md"))],
    ids=str,
)
def test_no_document_has_a_banned_phrase(path: Path) -> None:
    """Line ends inside a phrase do not hide it."""
    assert _banned(" ".join(path.read_text(encoding="utf-8").split())) == []


def _begins_lowercase(text: str) -> bool:
    """Return whether it begins with a lowercase letter, a name, a number or what is filled in."""
    word = text.split(" ", 1)[0]
    return (
        not text[:1].isupper()
        or word.startswith("Airflow")
        or word.upper() == word
        or not word[1:].islower()
    )


def _begins_uppercase(text: str) -> bool:
    return not text[:1].islower() or text.startswith(("xcomctl", "sql_mode", "latest", "max_"))


def test_errors_and_notes_begin_lowercase_and_have_no_full_stop() -> None:
    """The label in front begins the line."""
    lines = [one for one in MESSAGES if one.kind in ("error", "line")]
    assert [
        one
        for one in lines
        if not _begins_lowercase(one.text)
        or (one.text.endswith(".") and not one.text.endswith("…."))
    ] == []
    assert [one for one in lines if one.kind == "error" and "\n" in one.text] == []


def test_details_hints_and_help_are_sentences() -> None:
    """They begin with a capital, a name or a command, and end with a full stop.

    A question mark will do. A command or URL to copy may come last; a default in brackets follows the help.
    """
    wrong = []
    for one in MESSAGES:
        if one.kind in ("sentence", "help"):
            text = re.sub(r" \[(default|env): .*\]$", "", one.text)
            if not text or text == "…":
                continue
            ends = text.endswith((".", "?", "…", "]")) or re.search(r": \S.*$", text) is not None
            if not (_begins_uppercase(text) and ends):
                wrong.append(one)
    assert wrong == []
