"""Which files there shall be, with which content: the whole result of `generate`, before anything is written.

Pure but for looking for tools when the extension is off. Rendered text only leaves this module after Supervisor has
read it back as it was meant.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from hiveot_supervisor.generate import hooks, programs, render, verify
from hiveot_supervisor.generate.hooks import Tools
from hiveot_supervisor.model import Launcher, to_json
from hiveot_supervisor.prestart import spec as prestart

FILE_MODE = 0o600
FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class File:
    """A file that shall exist with exactly this content; `mode` when it is written."""

    path: Path
    content: bytes
    mode: int = FILE_MODE


@dataclass(frozen=True, slots=True)
class Plan:
    """All that `generate` wants.

    folders: must exist, made with 0700; private: folders of ours alone, whose mode is corrected too; guarded: folders
    that others may enter, but in which they must not be able to replace a socket or file of ours; files: in the order
    in which they are put in place; swept: folder in which other `*.json` and `*.sh` files are stale.
    """

    folders: tuple[Path, ...]
    private: tuple[Path, ...]
    guarded: tuple[Path, ...]
    files: tuple[File, ...]
    swept: Path

    def text(self, path: Path) -> str:
        """What the file `path` shall contain. Raises KeyError when it is not in the plan."""
        return {file.path: file.content for file in self.files}[path].decode("utf-8")

    def adding(self, path: Path, text: str, *, mode: int = FILE_MODE) -> Plan:
        """The plan with one more file, put in place last."""
        return replace(self, files=(*self.files, File(path, text.encode("utf-8"), mode)))


def make(launcher: Launcher, *, python: Path | None = None, tools: Tools | None = None) -> Plan:
    """The files for a launcher. `python`: the interpreter for agent and hooks, by default the running one.

    Raises ConfigError for what generated files cannot carry, RoundTripError when Supervisor would misread them.
    """
    paths = launcher.paths
    interpreter = python or Path(sys.executable)
    found = tools or (Tools() if launcher.extension else Tools.find())
    conf = programs.configure(launcher, interpreter)
    text = render.supervisord_conf(conf)
    verify.check(text, conf, paths.supervisord_conf)
    scripts: list[File] = []
    for plugin in [*([launcher.runtime] if launcher.runtime else []), *launcher.plugins]:
        spec = hooks.specify(launcher, plugin)
        values = hooks.script(spec, python=interpreter, generated=paths.generated, tools=found)
        scripts.append(_file(paths.plugin_dir / f"{spec.name}.json", prestart.dump(spec)))
        scripts.append(_file(programs.script_path(launcher, spec.name), render.prestart_script(values)))
    return Plan(
        folders=_folders(launcher, conf),
        private=(paths.generated, paths.plugin_dir, paths.prestart_dir, paths.stores / "launcher" / "verified"),
        guarded=(paths.run, paths.stores),
        # supervisord.conf comes last: when it is there, so is all that it names
        files=(*scripts, *_models(launcher), _file(paths.supervisord_conf, text)),
        swept=paths.plugin_dir,
    )


def _models(launcher: Launcher) -> list[File]:
    paths = launcher.paths
    files = [_file(paths.agent_json, _json(launcher))]
    if launcher.runtime is not None and launcher.hub.embedded:
        runtime = {"hub": launcher.hub, "paths": paths, "launcher_id": launcher.id}
        files.append(_file(paths.generated / "runtime.json", _json(runtime)))
    return files


def _folders(launcher: Launcher, conf: programs.Conf) -> tuple[Path, ...]:
    paths = launcher.paths
    files = [conf.listener.log_file, *(p.log_file for p in conf.programs)]
    logs = [file.parent for file in files if file is not None]
    return tuple(dict.fromkeys([paths.logs, paths.run, paths.stores, paths.stores / "launcher", *logs]))


def _file(path: Path, text: str) -> File:
    return File(path, text.encode("utf-8"))


def _json(value: object) -> str:
    """The JSON of `model.to_json(value)`, one value a line: quick to write, good to compare."""
    return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",\n ", ": ")) + "\n"


def _plain(value: object) -> object:
    """One level of `model.to_json`, for what json does not know."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return to_json(value)
