"""The argument parser: argparse with one-line errors and suggestions."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable

from sfm.cli.commands import COMMANDS
from sfm.errors import InputError, did_you_mean
from sfm.version import __version__

TYPE_CHECKING = False  # without importing typing: `sfm --help` should be quick
if TYPE_CHECKING:
    from typing import Any, NoReturn

Handler = Callable[[argparse.Namespace], int | None]


class _Help(argparse.Action):
    """`--help`, and behind the usage what the command's default `more` prints."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.print_help()
        more = parser.get_default("more")
        if more is not None:
            more(namespace)
        raise SystemExit(0)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` and suggests the nearest word."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options = {"allow_abbrev": False, **options, "add_help": False}
        super().__init__(*args, **options)
        text = "show this help and leave"
        self.add_argument("-h", "--help", action=_Help, nargs=0, dest=argparse.SUPPRESS, help=text)

    def error(self, message: str) -> NoReturn:
        match = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if match:
            choices = [word.strip(" '") for word in match[2].split(",")]
            message += "." + did_you_mean(match[1], choices)
        raise InputError(f"{message.removesuffix('.')}; see `{self.prog} --help`")

    def words(self) -> list[str]:
        """All option strings of this parser and of its sub-commands."""
        words: list[str] = []
        for action in self._actions:
            words += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    words += child.words()
        return words


def build(selected: str | None) -> Parser:
    """The parser; only the `selected` command's own arguments are there."""
    top = Parser(
        prog="sfm",
        description="A hub for scientific foundation models: one equivariant model supplies the "
        "missing terms of classical theories.",
        epilog="`sfm COMMAND --help` shows a command's arguments and an example.",
    )
    top.add_argument("--version", action="version", version=f"sfm {__version__}")
    top.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (module, summary) in COMMANDS.items():
        child = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == selected:
            place = module if "." in module else f"sfm.cli.{module}"
            importlib.import_module(place).configure(child)
            add_debug(child)
    return top


def add_debug(parser: argparse.ArgumentParser) -> None:
    """`--debug` may stand behind the command and its sub-command, too."""
    text = "show a traceback when something fails"
    if not any("--debug" in action.option_strings for action in parser._actions):
        parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=text)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                add_debug(child)


def parse(words: list[str]) -> tuple[Handler, argparse.Namespace]:
    """The handler of the command and its arguments.

    Raises:
        InputError: a usage mistake.
        SystemExit: `--help` and `--version`.
    """
    selected = next((word for word in words if not word.startswith("-")), None)
    if selected is not None and selected not in COMMANDS:
        raise InputError(
            f"no command '{selected}'.{did_you_mean(selected, COMMANDS)} "
            f"The commands are {', '.join(COMMANDS)}"
        )
    parser = build(selected)
    if not words:
        parser.print_help(sys.stdout)
        raise SystemExit(0)
    arguments, extra = parser.parse_known_args(settings_apart(words))
    unknown = [word for word in extra if word.startswith("-")] or extra
    if unknown:
        word = unknown[0].partition("=")[0]
        raise InputError(
            f"`sfm {arguments.command}` takes no '{word}'."
            f"{did_you_mean(word, parser.words())} See `sfm {arguments.command} --help`"
        )
    if arguments.command is None:
        raise InputError("say a command; see `sfm --help`")
    if not hasattr(arguments, "handler"):
        raise InputError(f"`sfm {arguments.command}` needs an action; see its --help")
    return arguments.handler, arguments


def settings_apart(words: list[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`.

    >>> settings_apart(["simulate", "--set", "a=1", "b=2", "--json"])
    ['simulate', '--set', 'a=1', '--set', 'b=2', '--json']
    """
    apart: list[str] = []
    for word in words:
        follows = len(apart) > 1 and apart[-2] == "--set"
        if follows and "=" in word and not word.startswith("-"):
            apart.append("--set")
        apart.append(word)
    return apart
