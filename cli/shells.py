r"""Completion in shells: the scripts, and how they ask.

A script runs the program with three variables: _WEIGHTZIP_COMPLETE=SHELL_complete, COMP_LINE with the command line up to the
cursor, and, where the shell takes words apart at colons, COMP_WORD with the last of its words. The answer is a line for each
completion, its parts separated by tabs: `plain VALUE HELP`, or `file PATTERN -`, which asks the shell for files.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

_ANY_FILE = "*"

_BASH = r"""%(complete_func)s() {
    local kind value help name plain= files=
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        if [[ $kind == plain ]]; then
            COMPREPLY+=("$value")
            plain=1
        elif [[ $value == '*' ]]; then
            compopt -o default 2>/dev/null
        else
            files=1
            while IFS= read -r name; do
                [[ -d $name ]] || COMPREPLY+=("$name")
            done < <(compgen -f -X "!$value" -- "$2")
        fi
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    if [[ $files ]]; then
        while IFS= read -r name; do
            COMPREPLY+=("$name")
        done < <(compgen -d -- "$2")
        [[ $plain ]] || compopt -o filenames -o default 2>/dev/null
    fi
}
complete -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local kind value help
    local -a plain described patterns
    while IFS=$'\t' read -r kind value help; do
        if [[ $kind == file ]]; then
            patterns+=("$value")
        elif [[ $help == - ]]; then
            plain+=("$value")
        else
            described+=("${value//:/\\:}:$help")
        fi
    done < <(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" %(complete_var)s=zsh_complete "${words[1]}" 2>/dev/null)
    (( $#described )) && _describe '%(prog_name)s' described
    (( $#plain )) && compadd -a plain
    if (( $#patterns )); then
        [[ $PREFIX == --*=* ]] && compset -P '*='
        _files -g "${(j: :)patterns}"
    fi
}
if [[ ${funcstack[1]} == _%(prog_name)s ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = r"""function %(complete_func)s
    set -l line (commandline -cp)
    set -l suffixes
    for item in (env COMP_LINE="$line" %(complete_var)s=fish_complete %(prog_name)s 2>/dev/null)
        set -l parts (string split \t -- $item)
        if test "$parts[1]" = plain
            test "$parts[3]" = -; and echo -- $parts[2]; or echo -- $parts[2]\t$parts[3]
        else if test "$parts[2]" = '*'
            __fish_complete_path (commandline -ct)
        else
            set -a suffixes (string replace '*' '' -- $parts[2])
        end
    end
    test -n "$suffixes"; and __fish_complete_suffix $suffixes
end
complete --command %(prog_name)s --no-files --keep-order --arguments '(%(complete_func)s)'
"""


class _Shell(ShellComplete):
    """Takes the line apart itself, since shells disagree about words with a colon or an equals sign."""

    _before = ""  # of the word at the cursor: what its completions do not repeat, such as --task=
    _known = 0  # characters of a whole word that the shell takes as given

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        word = words.pop() if words and not line[-1:].isspace() else ""
        if word.startswith("-") and "=" in word:
            self._before = word[: word.index("=") + 1]
        ending = os.environ.get("COMP_WORD")
        if ending is not None and word.endswith(ending):
            self._known = len(word) - len(ending)
        names = [os.path.basename(each) for each in words]  # noqa: PTH119  # words, which need not be paths
        start = names.index(self.prog_name) if self.prog_name in names else 0
        return words[start + 1 :], word

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A line of the answer."""
        if item.type != "plain":
            pattern = item.value if item.value.startswith("*") else _ANY_FILE  # click's own items hold the word itself
            return f"file\t{pattern}\t-"
        value = f"{self._before}{item.value}" if item.value[:1] != "-" else item.value
        return f"plain\t{value[self._known :]}\t{' '.join((item.help or '-').split())}"


@add_completion_class
class Bash(_Shell):
    """Takes words apart at colons and equals signs; needs bash 4 for all of it."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH


@add_completion_class
class Zsh(_Shell):
    """Shows what options are for."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


@add_completion_class
class Fish(_Shell):
    """Shows what options are for."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH


SHELLS: dict[str, type[_Shell]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}
