"""What is wrong with a command line, in words that do not depend on the version of click."""

from __future__ import annotations

import difflib

import click

_CLOSE = 0.7  # of 1; `difflib` by itself is content with less


def describe_usage(error: click.UsageError) -> str:
    """One line: what is wrong, and what was probably meant."""
    match error:
        case click.NoSuchOption():
            return f"no such option: {error.option_name}{_suggestion(error)}"
        case click.MissingParameter(param=click.Argument() as argument):
            return f"missing {argument.human_readable_name}{_choices(argument)}"
        case click.MissingParameter(param=click.Option() as option):
            return f"missing {_flag(option)}{_choices(option)}"
        case click.MissingParameter(param_hint=str() as hint):
            return f"missing {hint.strip(chr(39))}"
        case click.BadOptionUsage() if "requires" in error.message:
            return f"{error.option_name} needs a value"
        case click.BadParameter(param=click.Parameter() as param):
            name = _flag(param) if isinstance(param, click.Option) else param.human_readable_name
            return f"{name}: {_sentence(error.message.replace('a valid float', 'a number'))}"
        case _:
            return _sentence(error.format_message()).replace("got unexpected extra", "unexpected")


def _flag(option: click.Option) -> str:
    """As it is usually written: the long one."""
    return max(option.opts, key=len)


def _choices(param: click.Parameter) -> str:
    if not isinstance(param.type, click.Choice):
        return ""
    *others, last = map(str, param.type.choices)
    return f": {', '.join(others)} or {last}"


def _suggestion(error: click.NoSuchOption) -> str:
    ctx = error.ctx
    if ctx is None:
        return ""
    known = [name for param in ctx.command.get_params(ctx) for name in param.opts if isinstance(param, click.Option)]
    close = difflib.get_close_matches(error.option_name, [name for name in known if name.startswith("--")], n=1, cutoff=_CLOSE)
    if close:
        return f"; did you mean {close[0]}?"
    if isinstance(ctx.command, click.Group) and _in_a_command(ctx, ctx.command, error.option_name):
        return f"; write it after the command: {ctx.command_path} COMMAND {error.option_name}"
    return ""


def _in_a_command(ctx: click.Context, group: click.Group, option: str) -> bool:
    """Whether one of the group's commands takes this option."""
    return any(option in param.opts for command in group.commands.values() for param in command.get_params(ctx))


def _sentence(text: str) -> str:
    """On one line, in small letters, without the full stop, as all other messages are."""
    line = " ".join(text.split()).removesuffix(".")
    return line[:1].lower() + line[1:]
