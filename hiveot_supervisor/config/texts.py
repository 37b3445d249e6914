"""The kinds of text values in launcher.yaml: names, paths, patterns, command lines, variables, signals, users.

Each checks only its own form; whether a file, a user or a plugin exists is the business of `checks`.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from pathlib import PurePosixPath
from typing import Any

from hiveot_supervisor import model
from hiveot_supervisor.config.diagnostics import Collector
from hiveot_supervisor.config.kinds import Place, Refused, ScalarKind, place_name
from hiveot_supervisor.config.nodes import Node, Scalar, Sequence, flow_list, instead, show

NAME_RULE = "letters, digits, `_`, `.` and `-`, at most 64, beginning with a letter or digit"

WRITTEN = ["string", "number", "boolean"]
"""JSON types of a text: what YAML takes for a number or a boolean counts as it is written."""


class Text(ScalarKind[str]):
    """Any text, also the empty one; numbers and words such as `yes` are taken as they are written."""

    expects = "text"

    def decode(self, node: Node, at: Place, sink: Collector) -> str | None:
        if isinstance(node, Scalar) and node.is_null:
            text = f"{place_name(at)} has no value"
            sink.error("L107", text, node.span, suggestion='write `""` for an empty text', replacement='""')
            return None
        return super().decode(node, at, sink)

    def parse(self, scalar: Scalar) -> str:
        return scalar.text

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN}


class Name(ScalarKind[str]):
    """A plugin or launcher ID (`model.NAME_PATTERN`)."""

    expects = "a name"

    def decode(self, node: Node, at: Place, sink: Collector) -> str | None:
        if not isinstance(node, Scalar) or node.is_null:
            return super().decode(node, at, sink)
        if model.valid_name(node.text):
            return node.text
        if node.text == "all":
            sink.error("L302", "`all` cannot be a name", node.span, help="on the command line `all` means every plugin")
            return None
        meant = meant_name(node.text)
        sink.error(
            "L301",
            f"{show(node.text)} is not a valid name",
            node.span,
            suggestion=f"did you mean {show(meant, 64)}?" if meant else "",
            replacement=meant,
            help=f"a name has {NAME_RULE}",
        )
        return None

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN, "pattern": f"^{model.NAME_PATTERN}$", "not": {"const": "all"}}


def meant_name(text: str) -> str | None:
    """`text` with what a name may not have replaced by `-`; None when nothing sensible is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    guess = re.sub(r"[^A-Za-z0-9_.-]+", "-", ascii_text).strip("-_.")[:64]
    return guess if 2 * len(guess) > len(text) and model.valid_name(guess) else None


class VariableName(ScalarKind[str]):
    """The name of an environment variable."""

    expects = "the name of a variable"
    pattern = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

    def decode(self, node: Node, at: Place, sink: Collector) -> str | None:
        if not isinstance(node, Scalar) or node.is_null:
            return super().decode(node, at, sink)
        if self.pattern.fullmatch(node.text):
            return node.text
        guess = re.sub(r"[^A-Za-z0-9_]+", "_", node.text).strip("_")
        meant = guess if self.pattern.fullmatch(guess) and 2 * len(guess) > len(node.text) else None
        sink.error(
            "L208",
            f"{show(node.text)} cannot be the name of an environment variable",
            node.span,
            suggestion=f"did you mean {show(meant)}?" if meant else "",
            replacement=meant,
            help="a variable's name has letters, digits and `_`, and does not begin with a digit",
        )
        return None

    def schema(self) -> dict[str, Any]:
        return {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}


class PathText(ScalarKind[str]):
    """A path. `inside` names the folder to which a relative one refers; None: it must be absolute."""

    def __init__(self, inside: str | None) -> None:
        self.inside = inside
        self.expects = "an absolute path" if inside is None else f"a path in the {inside} folder, or an absolute one"

    def parse(self, scalar: Scalar) -> str:
        text = scalar.text
        if not text.strip():
            raise Refused("L212", wants="must not be empty")
        if not text.isprintable():
            raise Refused("L212", wants="must not contain control characters")
        if text.startswith("~"):
            raise Refused("L212", remedy="`~` depends on who runs the launcher; write the path out")
        if "$" in text and re.search(r"\$\{?\w", text):
            raise Refused("L212", remedy="environment variables are not expanded; write the path out")
        if PurePosixPath(text).is_absolute():
            return text
        if self.inside is None:
            raise Refused("L212", replacement=f"/{text}" if text.startswith(("dev/", "run/", "sys/")) else None)
        if ".." in PurePosixPath(text).parts:
            raise Refused("L212", remedy=f"`..` would leave the {self.inside} folder; write the absolute path")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN, "minLength": 1} | ({"pattern": "^/"} if self.inside is None else {})


class Executable(PathText):
    """A program, in the plugins folder or absolute; not a command line."""

    def __init__(self) -> None:
        super().__init__("plugins")

    def decode(self, node: Node, at: Place, sink: Collector) -> str | None:
        if isinstance(node, Sequence) and node.items and all(isinstance(item, Scalar) for item in node.items):
            program, *rest = [item.text for item in node.items if isinstance(item, Scalar)]
            sink.error(
                "L103",
                f"{place_name(at)} must be {self.expects}{instead(node)}",
                node.span,
                suggestion=f"write {show(program)}",
                replacement=program,
                help=f"arguments have a key of their own: `args: {flow_list(rest)}`" if rest else "",
            )
            return None
        return super().decode(node, at, sink)


class Regex(ScalarKind[str]):
    """A Python regular expression, searched for in each line of the log."""

    expects = "a regular expression"

    def parse(self, scalar: Scalar) -> str:
        text = scalar.text
        if not text:
            raise Refused("L210", wants="must not be empty")
        if len(text) > 1000:
            raise Refused("L210", wants="must be at most 1000 characters long")
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            literally = show(re.escape(text), 80)
            remedy = f"{error}; characters with a special meaning are taken literally with a backslash: {literally}"
            raise Refused("L210", remedy=remedy) from None
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN, "$comment": "a Python regular expression"}


class CommandLine(ScalarKind[str]):
    """A command as typed in a shell."""

    expects = "a command line"

    def parse(self, scalar: Scalar) -> str:
        if not scalar.text.strip():
            raise Refused("L211", wants="must not be empty")
        try:
            shlex.split(scalar.text)
        except ValueError as error:
            raise Refused("L211", remedy=f"{str(error).lower()}") from None
        return scalar.text

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN, "minLength": 1}


class Signal(ScalarKind[str]):
    """A signal's name, without `SIG` in the result."""

    names = ("TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2")
    expects = "one of " + ", ".join(f"`{name}`" for name in names)

    def parse(self, scalar: Scalar) -> str:
        name = scalar.text.removeprefix("SIG")
        if name in self.names:
            return name
        upper = scalar.text.upper().removeprefix("SIG")
        numbers = {"15": "TERM", "2": "INT", "1": "HUP", "3": "QUIT", "9": "KILL", "10": "USR1", "12": "USR2"}
        raise Refused("L201", replacement=upper if upper in self.names else numbers.get(upper))

    def schema(self) -> dict[str, Any]:
        return {"enum": [*self.names, *(f"SIG{name}" for name in self.names)]}


class User(ScalarKind[str]):
    """A system user's name or number."""

    expects = "a user name"

    def parse(self, scalar: Scalar) -> str:
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?", scalar.text):
            return scalar.text
        if ":" in scalar.text:
            raise Refused("L201", replacement=scalar.text.split(":")[0] or None, remedy="the user's own group is used")
        raise Refused("L201")

    def schema(self) -> dict[str, Any]:
        return {"type": WRITTEN}
