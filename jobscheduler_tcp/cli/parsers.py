"""
Parsers of the command line: their mistakes have the exit code of sysexits.h,
and the subcommands are listed by what people do with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

# sysexits.h: the command was used incorrectly.
EX_USAGE = 64


class Parser(argparse.ArgumentParser):
    """
    An argument parser whose mistakes have an exit code of their own, and whose
    options may stand between the words.
    """

    _mixed = False

    def error(self, message: str) -> NoReturn:
        """
        Say how it is used, and what was wrong.
        """
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """
        Take words that need not be there also behind options: argparse alone
        has given them up by then.
        """
        if self._subparsers is not None or self._mixed:
            return super().parse_known_args(args, namespace)
        self._mixed = True  # it comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixed = False


class Subcommands:
    """
    The subcommands of a parser, listed in groups.

    @ivar parsers: by name.
    """

    def __init__(self, prog: str, description: str, groups: Mapping[str, Sequence[str]]) -> None:
        """
        @param groups: the names under their headings.
        """
        self.parser = Parser(
            prog=prog,
            usage=f"{prog} COMMAND ...",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
        self.parsers: dict[str, argparse.ArgumentParser] = {}
        self._groups = groups
        self._helps: dict[str, str] = {}
        self._actions = self.parser.add_subparsers(
            dest="subcommand",
            metavar="COMMAND",
            required=True,
            help=argparse.SUPPRESS,
            parser_class=Parser,
        )

    def add_parser(self, name: str, help: str, **options: Any) -> argparse.ArgumentParser:
        """
        Add one.
        """
        self._helps[name] = help
        prog = f"{self.parser.prog} {name}"
        parser = self._actions.add_parser(name, prog=prog, allow_abbrev=False, **options)
        self.parsers[name] = parser
        return parser

    def parse(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """
        Read a command line.

        @return: what was said, and the words that have no place in it.
        @raise SystemExit: help was asked for, or the command line makes no sense.
        """
        self.parser.epilog = self._list()
        if not argv:
            self.parser.print_help(sys.stderr)
            self.parser.exit(EX_USAGE)
        if argv[0] not in self.parsers and not argv[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - takes its time

            near = get_close_matches(argv[0], self.parsers, 1)
            hint = f"did you mean {near[0]}?" if near else f"{self.parser.prog} --help lists them"
            self.parser.error(f"there is no command {argv[0]!r}; {hint}")
        found: tuple[argparse.Namespace, list[str]] = self.parser.parse_known_args(argv)
        return found

    def _list(self) -> str:
        width = max(map(len, self._helps))
        lines = []
        for heading, names in self._groups.items():
            lines.append(f"{heading}:")
            lines += [f"  {name:{width}}  {self._helps[name]}" for name in names]
            lines.append("")
        return "\n".join([*lines, f"{self.parser.prog} COMMAND --help tells all about one."])
