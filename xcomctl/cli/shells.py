"""How bash, zsh and fish ask for completions, take the answer, and get the script that asks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from xcomctl.errors import DatabaseError, UsageError
from xcomctl.text import UNSAFE, visible

_MOST_SHOWN: Final = 70
"""Characters of a description that zsh shows beside a candidate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that may stand where the cursor is."""

    value: str
    """The whole word, what was typed of it included."""
    help: str = ""
    final: bool = True
    """Whether the word ends here, rather than going on with a path or another value."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a shell asks: the words up to the cursor, the last one incomplete."""

    words: Sequence[str]
    quote: str = ""
    """The quote that is open at the cursor."""
    kept: int = 0
    """Characters of the last word that the shell keeps in front of what it replaces."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell: its completion script, and how that script's questions are answered."""

    name: str
    script: str
    file: str
    """Where the script is installed, below the home directory."""
    startup: tuple[str, str]
    """The startup file and the lines that it needs; both empty if the shell finds the script."""
    read: Callable[[Sequence[str]], Question]
    write: Callable[[Question, Sequence[Candidate]], str]

    def install(self, home: Path) -> Path:
        """Write the script, and return its path.

        Raises:
            DatabaseError: a file could not be written.
        """
        path = home / self.file
        startup, lines = self.startup
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.script, encoding="utf-8")
            if startup:
                rc = home / startup
                text = rc.read_text(encoding="utf-8") if rc.exists() else ""
                if lines not in text:
                    end = "\n" if text and not text.endswith("\n") else ""
                    rc.write_text(f"{text}{end}{lines}\n", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DatabaseError(
                f"could not install completion for {self.name}",
                detail=str(error),
                hint=f"Install it by hand: xcomctl --show-completion {self.name}",
            ) from None
        return path


def find(name: str | None) -> Shell:
    """Return a shell by its name, or the one that started this program.

    Raises:
        UsageError: it is none of those that are supported.
    """
    chosen = name or _current()
    if chosen not in SHELLS:
        raise UsageError(
            f'there is no completion for "{chosen}"' if chosen else "cannot detect the shell",
            hint=f"Valid values: {', '.join(SHELLS)}.",
        )
    return SHELLS[chosen]


def _current() -> str:
    """Return the name of the shell, from the parent process or else $SHELL."""
    try:
        parent = Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        parent = ""
    return parent if parent in SHELLS else Path(os.environ.get("SHELL", "")).name


# --- bash -------------------------------------------------------------------------------------

_BASH = """\
# bash completion for xcomctl; needs bash 4.4 or newer
_xcomctl() {
    mapfile -t COMPREPLY < <(
        _XCOMCTL_COMPLETE=bash command xcomctl "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" \\
            2>/dev/null </dev/null
    )
}
complete -o nospace -o nosort -F _xcomctl xcomctl
"""


def _read_bash(arguments: Sequence[str]) -> Question:
    """Split a line as bash does, and find out which part of the last word it will replace.

    bash inserts what it is given as it is, in place of what follows the last character of
    COMP_WORDBREAKS that is not quoted, or of the quote that is open:
    https://www.gnu.org/software/bash/manual/html_node/Programmable-Completion.html
    """
    line, breaks = arguments
    question = _split(line, breaks, {'"': '"\\$`', "'": ""})
    return replace(question, words=question.words[1:])


def _split(line: str, breaks: str, escapes: Mapping[str, str]) -> Question:
    """Split a line into words; `escapes` has the characters that `\\` quotes within quotes."""
    words, word, quote = [], "", ""
    inside, kept, opened = False, 0, 0
    position = 0
    while position < len(line):
        char = line[position]
        position += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and line[position : position + 1] in tuple(escapes[quote]):
                word += line[position]
                position += 1
            else:
                word += char
        elif char.isspace():
            if inside:
                words.append(word)
            word, inside, kept = "", False, 0
            continue
        elif char in "'\"":
            quote, opened = char, len(word)
        elif char == "\\":
            word += line[position : position + 1]
            position += 1
        else:
            word += char
            kept = len(word) if char in breaks else kept
        inside = True
    return Question([*words, word], quote, opened if quote else kept)


def _write_bash(question: Question, candidates: Sequence[Candidate]) -> str:
    lines = []
    for one in candidates:
        text = _quoted_for_bash(one.value[question.kept :], question.quote)
        lines.append(text + (" " if one.final and not question.quote else ""))
    return "".join(f"{line}\n" for line in lines)


def _quoted_for_bash(text: str, quote: str) -> str:
    """Return a text as it is typed in bash, behind an open quote where there is one."""
    if text.startswith("~/") and not quote:
        return "~/" + _quoted_for_bash(text[2:], quote)

    def typed(match: re.Match[str]) -> str:
        char = match[0]
        if UNSAFE.match(char):
            return f"{quote}$'{_ansi(char)}'{quote}"
        if not quote:
            return f"\\{char}"
        if quote == "'":
            return "'\\''" if char == "'" else char
        # History expansion heeds no backslash in double quotes.
        return "\"'!'\"" if char == "!" else f"\\{char}"

    special = r"[^\w./:=@,+%-]" if not quote else '["\\\\$`!]' if quote == '"' else "'"
    return re.sub(f"{special}|{UNSAFE.pattern}", typed, text)


def _ansi(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


# --- zsh --------------------------------------------------------------------------------------

_ZSH = """\
#compdef xcomctl
_xcomctl() {
    local -a typed found values shown open_values open_shown
    local quote=$compstate[quote]
    # (Q) keeps the backslash of "\\!".
    typed=("${(@)words[2,CURRENT-1]//\\\\!/!}" "$quote$PREFIX$quote")
    found=("${(@0)$(
        _XCOMCTL_COMPLETE=zsh command xcomctl "${(@Q)typed}" 2>/dev/null </dev/null
    )}")
    while (( $#found >= 3 )); do
        if [[ $found[3] == final ]]; then
            values+=("$found[1]") shown+=("$found[2]")
        else
            open_values+=("$found[1]") open_shown+=("$found[2]")
        fi
        shift 3 found
    done
    compadd -V xcomctl -d shown -- "${values[@]}"
    compadd -V xcomctl -S '' -d open_shown -- "${open_values[@]}"
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _xcomctl "$@"
else
    compdef _xcomctl xcomctl
fi
"""


def _write_zsh(_question: Question, candidates: Sequence[Candidate]) -> str:
    width = max((len(visible(one.value)) for one in candidates), default=0)
    fields: list[str] = []
    for one in candidates:
        shown = visible(one.value)
        if one.help:
            shown = f"{shown.ljust(width)}  -- {visible(one.help)[:_MOST_SHOWN]}"
        fields += [one.value, shown, "final" if one.final else "open"]
    return "\0".join(fields)


# --- fish -------------------------------------------------------------------------------------

_FISH = """\
# fish completion for xcomctl
function __xcomctl_complete
    set -l typed (commandline -opc)
    set -e typed[1]
    _XCOMCTL_COMPLETE=fish command xcomctl $typed (commandline -ct) 2>/dev/null </dev/null
end
complete -c xcomctl -f -a '(__xcomctl_complete)'
"""


def _read_fish(arguments: Sequence[str]) -> Question:
    """Take the words as they are, and the last, which fish hands over as it was typed, unquoted."""
    *words, last = arguments or [""]
    typed = _split(last, "", {'"': '"\\$', "'": "'\\"})
    return Question([*words, typed.words[-1]])


def _write_fish(_question: Question, candidates: Sequence[Candidate]) -> str:
    # One a line, a tab before the description: a name that holds either cannot be offered.
    lines = (
        f"{one.value}\t{visible(one.help)}" if one.help else one.value
        for one in candidates
        if not UNSAFE.search(one.value)
    )
    return "".join(f"{line}\n" for line in lines)


SHELLS: Final = {
    shell.name: shell
    for shell in (
        Shell(
            "bash",
            _BASH,
            ".bash_completions/xcomctl.sh",
            (".bashrc", "source ~/.bash_completions/xcomctl.sh"),
            _read_bash,
            _write_bash,
        ),
        Shell(
            "zsh",
            _ZSH,
            ".zfunc/_xcomctl",
            (".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
            Question,
            _write_zsh,
        ),
        Shell(
            "fish",
            _FISH,
            ".config/fish/completions/xcomctl.fish",
            ("", ""),
            _read_fish,
            _write_fish,
        ),
    )
}
"""Every shell for which there is completion, by name."""
