"""Whatever the bytes are: a tree, or diagnostics; never anything else, and never for long."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hiveot_supervisor.config import reader, schema
from hiveot_supervisor.config.codes import CODES
from hiveot_supervisor.config.diagnostics import Collector, Diagnostic, Span
from hiveot_supervisor.config.forms import ALIVE, READY
from hiveot_supervisor.config.load import Inspection, inspect
from hiveot_supervisor.config.nodes import Mapping, Node, Scalar, Sequence
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.config.render import as_json, concise, full, github

LOADERS = [pytest.param(reader._LOADER, id="libyaml"), pytest.param(yaml.SafeLoader, id="python")]
Check = Callable[[str | bytes], Inspection]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_LOADER", request.param)


def read(data: bytes | str) -> tuple[Node | None, tuple[Diagnostic, ...]]:
    raw = data.encode() if isinstance(data, str) else data
    source, sink = reader.decode(raw, Path("launcher.yaml"), "launcher.yaml")
    return reader.parse(source, sink), sink.diagnostics()


def plain(node: Node | None) -> object:
    if isinstance(node, Mapping):
        return {entry.key.text: plain(entry.value) for entry in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.text if node is not None else None


def scalars(node: Node | None) -> list[Scalar]:
    if isinstance(node, Mapping):
        return [s for entry in node.entries for s in (entry.key, *scalars(entry.value))]
    if isinstance(node, Sequence):
        return [s for item in node.items for s in scalars(item)]
    return [node] if node is not None else []


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1\r\nb:\r\n  - x\r\n", {"a": "1", "b": ["x"]}),
        ("\ufeffa: 1\n", {"a": "1"}),
        ("a: 1", {"a": "1"}),
        ("a: yes\nb: 0x10\nc: 1:30\nd: 2024-01-01\n", {"a": "yes", "b": "0x10", "c": "1:30", "d": "2024-01-01"}),
        ("a: &x [1, 2]\nb: *x\n", {"a": ["1", "2"], "b": ["1", "2"]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", {"a": {"k": "1", "l": "2"}, "b": {"k": "3", "l": "2"}}),
        ("a: !!str 1\nb: !!int 2\n", {"a": "1", "b": "2"}),
        ("a: 'it''s'\nb: \"\\u00e9\\n\"\n", {"a": "it's", "b": "é\n"}),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
        ("---\na: 1\n...\n", {"a": "1"}),
    ],
)
def test_trees(text: str, tree: object) -> None:
    node, diagnostics = read(text)
    assert diagnostics == ()
    assert plain(node) == tree


@pytest.mark.usefixtures("loader")
def test_quotes_are_remembered() -> None:
    node, _ = read("[a, 'b', \"c\", ~, '', !!str d]")
    assert isinstance(node, Sequence)
    assert [scalar.plain for scalar in scalars(node)] == [True, False, False, True, False, False]
    assert [scalar.is_null for scalar in scalars(node)] == [False, False, False, True, False, False]


@pytest.mark.usefixtures("loader")
@given(
    st.lists(
        st.text("aé漢\U0001f600\u0301-_ ", min_size=1, max_size=8).map(str.strip).filter(lambda t: t[:1].isalpha())
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_places_are_exact(words: list[str]) -> None:
    """The text between the offsets is the scalar, after any mixture of line ends, wide and combining characters."""
    ends = ["\n", "\r\n"]
    text = "# é漢\r\nlist:\n" + "".join(f"  - {word}{ends[n % 2]}" for n, word in enumerate(words))
    node, diagnostics = read(text)
    assert diagnostics == ()
    found = scalars(node)[1:] if words else []
    assert [text[slice(*scalar.span)] for scalar in found] == words
    source, _ = reader.decode(text.encode(), Path("x"), "x")
    for number, scalar in enumerate(found):
        assert source.position(scalar.span.start) == (3 + number, 5)
        assert source.line(3 + number) == f"  - {words[number]}"


@pytest.mark.parametrize(
    ("data", "code", "place", "words"),
    [
        (b"\xff\xfea\x00:\x00", "L004", (0, 0), "UTF-16"),
        (b"a: 1\nb: caf\xe9\n", "L004", (2, 7), "byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfa: \xff\n", "L004", (1, 4), "byte 0xff"),
        (b"a: \xc3\x28\n", "L004", (1, 4), "byte 0xc3"),
        (b"a: 1\nb: \x07\n", "L005", (2, 4), "U+0007"),
        (b"a: \x00", "L005", (1, 4), "U+0000"),
        (b"a: x\xc2\x9b1m\n", "L005", (1, 5), "U+009B"),
        ("a: [\n" + "[" * 40, "L008", (2, 31), "32 levels"),
        ("a: &a [" + "x," * 99 + "]\nb: &b [" + "*a," * 99 + "]\nc: [" + "*b," * 99 + "]", "L008", (2, 4), "100,000"),
        ("a: &a {b: *a}", "L009", (1, 11), "contains itself"),
        ("a: &a [&b [*a, *b]]", "L009", (1, 12), "contains itself"),
    ],
)
@pytest.mark.usefixtures("loader")
def test_unreadable_content(data: bytes | str, code: str, place: tuple[int, int], words: str) -> None:
    node, diagnostics = read(data)
    assert node is None
    first = diagnostics[0]
    assert (first.code, (first.line, first.column)) == (code, place)
    assert words in first.message


def test_latin1_is_recognised() -> None:
    _, (diagnostic,) = read("name: Käse".encode("latin-1"))
    assert diagnostic.help == "save the file as UTF-8, as it is in Latin-1: ä"


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p), lambda p: p.symlink_to("/dev/zero")])
def test_only_regular_files_are_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "launcher.yaml")
    found = inspect(locate(config=tmp_path / "launcher.yaml"))
    assert [d.code for d in found.diagnostics] == ["L002"]


def test_missing_file_names_where_it_was_looked_for(tmp_path: Path) -> None:
    (diagnostic,) = inspect(locate(cwd=tmp_path), cwd=tmp_path).diagnostics
    assert diagnostic.code == "L001"
    assert diagnostic.message == "there is no launcher.yaml: neither launcher.yaml nor config/launcher.yaml exists"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "launcher.yaml").touch(mode=0)
    (diagnostic,) = inspect(locate(cwd=tmp_path), cwd=tmp_path).diagnostics
    assert (diagnostic.code, diagnostic.message.endswith("cannot be read: permission denied")) == ("L002", True)


def test_large_files_are_refused(check: Check) -> None:
    assert check(b"#" * 1_000_000).launcher is not None
    assert [d.code for d in check(b"#" * 1_000_001).diagnostics] == ["L003"]


YAML_WORDS = [
    "plugins:",
    "autostart:",
    "- ",
    "a: ",
    "\n",
    "  ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "!x ",
    "'",
    '"',
]
YAML_WORDS += [
    "|",
    ">",
    "#",
    "?",
    "%",
    "@",
    "`",
    "\\",
    "\r\n",
    "\ufeff",
    "\x00",
    "\u2028",
    "漢",
    "---",
    "...",
    "restart: ",
    "1s",
    "\x85",
]
texts = st.lists(st.sampled_from(YAML_WORDS) | st.text(max_size=5), max_size=40).map("".join)

WORDS = [
    *schema.TOP.names,
    *schema.PLUGIN.names,
    *READY.names,
    *ALIVE.names,
    "history",
    "zwavejs",
    "runtime",
    "policy",
    "url",
]
VALUES = [
    "1s",
    "200MB",
    "80%",
    "true",
    "always",
    "mqtts://localhost:8883",
    ":8883",
    "hub",
    "TERM",
    "/bin/sh",
    "a: b",
    "",
    "../x",
]
leaves = st.sampled_from([*WORDS, *VALUES]) | st.integers() | st.booleans() | st.none() | st.text(max_size=5)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=30,
)
shaped = st.dictionaries(st.sampled_from(schema.TOP.names), trees, max_size=8).map(lambda t: json.dumps(t).encode())


@pytest.mark.usefixtures("loader")
@given(data=shaped | texts.map(lambda t: t.encode("utf-8", "surrogatepass")) | st.binary(max_size=200))
@example(data=b"\xef\xbb\xbf")
@example(data=b'a: "\\ud800"\nautostart: ["\\ud800", "x\\0"]\n')
@example(data=b"? \n")
@example(data=b"a: >\n \xe2\x80\xa8b")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_tree_or_diagnostics(data: bytes, check: Check) -> None:
    """Nothing escapes, every diagnostic can be printed in every form, and points into the file."""
    found = check(data)
    assert (found.launcher is None) == any(d.severity == "error" for d in found.diagnostics)
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for diagnostic in found.diagnostics:
        assert diagnostic.code in CODES
        assert 0 <= diagnostic.line <= lines
        assert diagnostic.message == diagnostic.message.strip() != ""
        for text in (full(diagnostic), concise(diagnostic), github(diagnostic), str(as_json(diagnostic))):
            text.encode()
            assert "\x1b" not in text
        assert "\n" not in concise(diagnostic)
        assert "\n" not in github(diagnostic)


M = 1_000_000
HOSTILE = {
    "brackets": "[" * M,
    "braces": "{a: " * (M // 4),
    "dashes": "- " * (M // 2),
    "question marks": "? " * (M // 2),
    "one list": "a: [" + "1," * (M // 2 - 10) + "]",
    "same key": "a: 1\n" * (M // 5),
    "unknown keys": "".join(f"kkkkk{i}: 1\n" for i in range(70_000)),
    "laughs": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)),
    "open quote": 'a: "' + "x" * (M - 10),
    "one word": "a: " + "x " * (M // 2 - 10),
    "circle": "plugins:\n" + "".join(f" p{i}: {{dependsOn: [p{(i + 1) % 15000}]}}\n" for i in range(15000)),
    "everyone": "plugins:\n"
    + "".join(f" p{i}: {{dependsOn: [{','.join(f'p{j}' for j in range(200) if j != i)}]}}\n" for i in range(200)),
    "tabs": "\t" * M,
    "lines": "\n" * M,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_bounded(name: str, check: Check) -> None:
    begin = time.monotonic()
    found = check(HOSTILE[name])
    assert time.monotonic() - begin < 10  # seconds; about one on an idle machine
    assert len(found.diagnostics) <= 2002


def test_collector_counts_what_it_does_not_list(tmp_path: Path) -> None:
    source, _ = reader.decode(b"x" * 5000, tmp_path, "x")
    sink = Collector(source)
    for number in range(1500):
        sink.warning("L105", f"warning {number}", Span(number, number + 1))
    sink.error("L104", "error", Span(3000, 3001))
    sink.error("L104", "error", Span(3000, 3001))
    assert sink.errors == 1
    assert [d.message for d in sink.diagnostics()][-2:] == ["error", "500 more warnings are not listed"]
