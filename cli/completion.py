"""weightzip completion."""

from __future__ import annotations

import click

from weightzip.cli.shells import SHELLS


@click.command(short_help="Print a script that completes commands in your shell.")
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for your shell, bash, zsh or fish, that completes commands, options and names.

    Keep the script in a file that the shell reads when it starts, then open a new shell:

    \b
      weightzip completion bash > ~/.weightzip.bash
      weightzip completion zsh > ~/.zfunc/_weightzip
      weightzip completion fish > ~/.config/fish/completions/weightzip.fish

    For bash, put `. ~/.weightzip.bash` into ~/.bashrc. For zsh, `fpath=(~/.zfunc $fpath)` has to stand in ~/.zshrc, before
    `autoload -U compinit; compinit`; the folder ~/.zfunc has to be there.

    \b
    Examples:
      source <(weightzip completion bash)    only in this shell
      weightzip completion fish | source
    """
    program = ctx.find_root()
    name = str(program.info_name)
    script = SHELLS[shell](program.command, {}, name, f"_{name.upper()}_COMPLETE").source()
    click.echo(script, nl=False)
