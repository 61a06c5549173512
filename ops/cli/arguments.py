"""Arguments that several commands share, and arguments that are not UTF-8 text.

A terminal or a cron job of another encoding passes such bytes. In a reason they are replaced, so that the act takes
place; an empty reason is refused. A name, an id or a number with such bytes matches nothing and is refused. Paths are
bytes to the system and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bulksend.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
CampaignId = Annotated[
    str, typer.Argument(help="The campaign's id, or its name if it is unique.", metavar="ID")
]
Phone = Annotated[str, typer.Argument(help="A number, in any common notation.", metavar="PHONE")]
Why = Annotated[str, typer.Option(help="The reason, for the operator log.")]
Reason = Annotated[str | None, typer.Option("--why", help="The reason, for the operator log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Encoding = Annotated[str | None, typer.Option(help="Encoding of a CSV that is not UTF-8, e.g. cp1252.")]
SheetOption = Annotated[str | None, typer.Option("--sheet", help="Sheet of an XLSX; default: the first.")]

Region = Annotated[
    str | None, typer.Option(help="Country of numbers without a country code, e.g. GB.", metavar="GB")
]

#: Options that hold a reason.
_REASONS = frozenset({"why", "reason"})
_WHY = "is not UTF-8 text; set the terminal to UTF-8, or write it in plain letters"


def default_region(given: str | None, of: Settings) -> str | None:
    """The country of numbers without a country code: the option's, else the installation's. Raises InvalidValue."""
    from bulksend.messaging.recipient import checked_region

    return of.default_region if given is None else checked_region(given, "--region")


def listed(text: str | None) -> list[str]:
    """The values of an option that takes several, separated by commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


@contextmanager
def option_names() -> Iterator[None]:
    """An error that names an argument of an operation names the command's option: ``since`` becomes ``--since``."""
    from bulksend.errors import InvalidValue
    from bulksend.messaging.argument_naming import as_cli_option

    try:
        yield
    except InvalidValue as error:
        raise InvalidValue(as_cli_option(error.field), error.value, error.why) from None


def guard(command: Any) -> Any:
    """Make this command, and each of its subcommands, check its arguments first. Returns the same command."""
    inner = getattr(command, "commands", None)
    if inner is not None:
        for each in inner.values():
            guard(each)
        return command
    invoke = command.invoke

    def run(context: typer.Context) -> Any:
        for param in command.params:
            if param.name in context.params:
                context.params[param.name] = _readable(context.params[param.name], param, context)
        for extra in context.args:
            _refuse(extra, context)
        return invoke(context)

    command.invoke = run
    return command


def _readable(value: Any, param: Any, context: typer.Context) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_readable(each, param, context) for each in value)
    if not isinstance(value, str):
        return value
    if param.name in _REASONS:
        from bulksend.messaging.surrogates import replace_surrogates

        if not value.strip():
            raise typer.BadParameter(
                "is empty; give the reason, for the operator log", ctx=context, param=param
            )
        return replace_surrogates(value)
    return _refuse(value, context, param)


def _refuse(value: str, context: typer.Context, param: Any = None) -> str:
    if value.isascii():
        return value
    from bulksend.messaging.surrogates import replace_surrogates

    shown = replace_surrogates(value)
    if shown != value:
        raise typer.BadParameter(f"{shown[:40]!r} {_WHY}", ctx=context, param=param)
    return value
