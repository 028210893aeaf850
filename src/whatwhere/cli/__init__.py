"""The command line: parse, call, print.

Each command lives in a module of its own and imports what it needs inside the command,
so that `whatwhere --help` and `whatwhere predict` stay quick. Exit status: 0 done,
1 findings or failed gates, 2 bad usage or input.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import typer
from typer.models import CommandInfo, TyperInfo

from whatwhere import __version__
from whatwhere.errors import WhatwhereError

# What a shell reports for a command that Ctrl-C ended: 128 + SIGINT.
_INTERRUPTED = 130

# Command -> the modules that it and the commands below it are in.
_MODULES: Mapping[str, tuple[str, ...]] = {
    **{
        name: (name,)
        for name in (
            "predict",
            "train",
            "evaluate",
            "compare",
            "calibrate",
            "explain",
            "advise",
            "drift",
            "review",
            "export",
            "bench",
            "serve",
            "data",
        )
    },
    "models": ("models", "models_import", "models_get"),
}

app = typer.Typer(
    name="whatwhere",
    help="What is in a picture, and where.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whatwhere {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails."),
) -> None:
    """What is in a picture, and where."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; never a traceback without `--debug`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `--debug` is accepted anywhere, because people add it to the end of what just failed.
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    _register(arguments[0] if arguments else None)
    try:
        status = app(arguments, prog_name="whatwhere", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return _fail("interrupted", _INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except WhatwhereError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader (`head`, a pager) has gone; there is nobody left to tell.
        sys.stderr.close()
        return 1
    except OSError as error:
        if debug:
            raise
        place = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{place}: check the path and the disk", 2)
    except Exception as error:
        if debug:
            raise
        return _fail(
            f"internal error ({type(error).__name__}: {error}): run again with --debug"
            " and report the traceback",
            70,
        )
    if status == _INTERRUPTED:
        # Typer turns Ctrl-C into this status without a word.
        return _fail("interrupted", _INTERRUPTED)
    return int(status or 0)


def _misused(error: typer.TyperException) -> int:
    message = error.format_message()
    if "\n" in message:
        # A command that was called with nothing: the message is its help.
        typer.echo(message, err=True)
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "whatwhere"
    return _fail(f"{message.rstrip('.')}: see  {command} --help", 2)


def _fail(message: str, status: int) -> int:
    typer.echo(f"whatwhere: {message}", err=True)
    return status


def _register(command: str | None = None) -> None:
    """Attach the commands, or only the one that is asked for, as most of starting is spent on them.

    Importing a command's module must import nothing heavy.
    """
    from importlib import import_module

    known = _MODULES.get(command or "")
    for module in known or [one for modules in _MODULES.values() for one in modules]:
        import_module(f"whatwhere.cli.{module}")
    if known is None:
        # Help lists them in this order, also where some were attached by an earlier call.
        order = list(_MODULES)
        app.registered_commands.sort(key=lambda one: order.index(_name(one)))
        app.registered_groups.sort(key=lambda one: order.index(_name(one)))


def _name(attached: CommandInfo | TyperInfo) -> str:
    """What a command or group is called on the command line."""
    if isinstance(attached, TyperInfo):
        assert attached.typer_instance is not None
        return str(attached.typer_instance.info.name)
    assert attached.callback is not None
    return attached.name or attached.callback.__name__


def entry() -> None:
    """Console script."""
    sys.exit(main())
