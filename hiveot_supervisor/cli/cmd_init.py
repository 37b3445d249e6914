"""`hiveot-launcher init`: makes a home: a commented launcher.yaml, the folders, and the embedded hub as runtime."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from hiveot_supervisor.cli.output import say
from hiveot_supervisor.config.paths import FILE_NAME, home_of, is_system, paths_of
from hiveot_supervisor.errors import ExitCode, HiveotError, UsageError
from hiveot_supervisor.model import Paths
from hiveot_supervisor.resources import template_path

PUBLIC = 0o755
PRIVATE = 0o700


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", nargs="?", type=Path, metavar="DIR", help="the home to make (default: --home, else here)"
    )
    parser.add_argument("--force", action="store_true", help="write launcher.yaml and bin/runtime anew")
    parser.epilog = "Existing files are left alone unless --force is given; folders get the right modes."


def run(args: argparse.Namespace) -> int:
    if args.dir is not None and args.home is not None and args.dir.resolve() != args.home.resolve():
        raise UsageError("DIR and --home name different folders", hint="give one of them")
    home = Path(os.path.normpath(Path.cwd() / (args.dir or args.home or Path.cwd())))
    if is_system(home) or home.name in ("config", "conf.d"):
        raise UsageError(
            f"{home} is not a folder for a home of one's own",
            hint="a home in /usr or /opt means the system layout, whose folders a package makes; choose another folder",
        )
    paths = paths_of(home, home)
    existing = _existing(paths)
    if existing is not None and not args.force:
        raise HiveotError(
            f"{existing} exists already",
            hint="hiveot-launcher check looks at it; init --force replaces it by the sample",
        )
    try:
        make_home(paths, force=args.force)
    except OSError as error:
        raise HiveotError(
            f"cannot make a home in {home}",
            why=f"{error.filename or home}: {(error.strerror or str(error)).lower()}",
            hint="choose a folder that you may write to",
        ) from error
    if not args.quiet:
        say(_next_steps(paths))
    return ExitCode.OK


def _existing(paths: Paths) -> Path | None:
    """The launcher.yaml that the home has already."""
    candidates = (paths.home / FILE_NAME, paths.config / FILE_NAME)
    return next((file for file in candidates if os.path.lexists(file)), None)


def make_home(paths: Paths, *, force: bool = False) -> None:
    """Make the folders, launcher.yaml and bin/runtime of a home. Raises OSError."""
    public = (paths.home, paths.bin, paths.plugins, paths.config)
    private = (paths.certs, paths.logs, paths.stores, paths.run)
    for folder in public:
        folder.mkdir(mode=PUBLIC, parents=True, exist_ok=True)
    for folder in private:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        folder.chmod(PRIVATE)
    file = paths.config / FILE_NAME if os.path.lexists(paths.config / FILE_NAME) else paths.home / FILE_NAME
    write_file(file, template_path(FILE_NAME).read_text(encoding="utf-8"), 0o644)
    runtime = paths.bin / "runtime"
    if force or not os.path.lexists(runtime):
        write_file(runtime, runtime_shim(paths.home), 0o755)


def runtime_shim(home: Path) -> str:
    """The text of bin/runtime: starts the embedded hub with the Python that runs this command."""
    command = [sys.executable, "-P", "-m", "hiveot_supervisor.runtime", "--home", str(home)]
    return "\n".join(
        (
            "#!/bin/sh",
            "# The embedded hub of hiveot-supervisor; made by `hiveot-launcher init`.",
            f'exec {shlex.join(command)} "$@"',
            "",
        )
    )


def write_file(path: Path, text: str, mode: int) -> None:
    """Write atomically: the file is there in full or not at all. A link is replaced, not followed. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _next_steps(paths: Paths) -> str:
    here = home_of(Path.cwd() / FILE_NAME)
    option = "" if here == paths.home else f" --home {shlex.quote(str(paths.home))}"
    program = "hiveot-launcher" if shutil.which("hiveot-launcher") else shlex.quote(sys.argv[0])
    return "\n".join(
        (
            f"made a home in {paths.home}: launcher.yaml, bin/runtime (the embedded hub) and the folders",
            "put executables into plugins/, list them under `autostart` in launcher.yaml, then:",
            f"  {program}{option} check",
            f"  {program}{option} up",
        )
    )
