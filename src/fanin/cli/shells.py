"""What bash, zsh and fish are told so that they ask fanin what may be typed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shell:
    """A shell's scripts.

    Args:
        install: makes it ask.
        uninstall: makes it ask no more.
    """

    install: str
    uninstall: str


BASH = r"""_fanin_completion() {
    local IFS=$'\n' program="${COMP_WORDS[0]/#\~/$HOME}"
    # fanin-theory takes what fanin takes
    COMPREPLY=($(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
        "${program%-theory}" --shell-completion query=bash 2>/dev/null))
}
complete -o nospace -o default -F _fanin_completion fanin fanin-theory"""

ZSH = r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_fanin_completion() {
    local -a found
    found=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" \
        "${~words[1]%-theory}" --shell-completion query=zsh 2>/dev/null)}")
    [[ -n $found[1] ]] && compadd -S '' -- "${found[@]}" || _files
}
compdef _fanin_completion fanin fanin-theory"""

FISH = r"""function __fanin_completion
    set -l program (string replace -r -- '-theory$' '' (commandline -opc)[1])
    COMP_LINE=(commandline -cp | string collect) $program --shell-completion query=fish 2>/dev/null
end
complete -c fanin -f -a '(__fanin_completion)'
complete -c fanin-theory -f -a '(__fanin_completion)'"""

SHELLS = {
    "bash": Shell(BASH, "complete -r fanin fanin-theory; unset -f _fanin_completion"),
    "zsh": Shell(ZSH, "compdef -d fanin fanin-theory; unfunction _fanin_completion"),
    "fish": Shell(FISH, "complete -e -c fanin; complete -e -c fanin-theory; functions -e __fanin_completion"),
}
"""By name, as `--shell-completion install=NAME` has them."""
