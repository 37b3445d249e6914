"""The codes of diagnostics, each with an explanation for `hiveot-launcher check --explain CODE`.

Codes are stable: one is never used for something else, and a retired one is not given out again. L0xx reading the file,
L1xx its shape, L2xx single values, L3xx what belongs together, L4xx what launcher.yaml points to on this machine.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """title: what is wrong, in a few words; text: why it matters and what to do; example: how it looks when right."""

    title: str
    text: str
    example: str = ""


CODES: dict[str, Code] = {
    "L001": Code(
        "there is no launcher.yaml",
        "It is looked for in the current folder and in its folder `config`; with --home DIR in DIR and "
        "DIR/config; with -c FILE nowhere else.",
        "hiveot-launcher init            # write one here\nhiveot-launcher --home DIR ...  # use the one in DIR",
    ),
    "L002": Code(
        "the file cannot be read",
        "It is a folder or a device, or its permissions do not let you read it.",
    ),
    "L003": Code(
        "the file is too large",
        "A configuration of more than 1 MB is taken for a mistake, e.g. a log file given as configuration.",
    ),
    "L004": Code(
        "the file is not UTF-8",
        "Save it with the encoding UTF-8 in your editor. A byte order mark is allowed.",
    ),
    "L005": Code(
        "a control character",
        "YAML does not allow control characters in the text. They come in by copying from a terminal or a document.",
        'prefix: "\\u001b[1m"     # in double quotes they can be written',
    ),
    "L006": Code(
        "the file is not YAML",
        "The text cannot be understood at all; only the first such place is reported, because what "
        "follows it cannot be judged. Values with `: `, ` #`, or beginning with one of @ ` % * & ! [ { > "
        "| need quotes.",
        "title: 'Weather: today'",
    ),
    "L007": Code(
        "a tab",
        "YAML allows only spaces for indentation.",
        "plugins:\n  zwavejs:      # two spaces",
    ),
    "L008": Code(
        "too deep or too much",
        "More than 32 levels, or aliases that stand for more than 100,000 values, are refused.",
    ),
    "L009": Code(
        "an alias that leads nowhere",
        "`*name` repeats what was marked with `&name` before it in the file. Text that begins with * needs quotes.",
        "restart: &slow {delay: 1m}\nplugins:\n  zwavejs:\n    restart: *slow",
    ),
    "L010": Code(
        "a second document",
        "A line `---` begins a second YAML document; launcher.yaml has only one.",
    ),
    "L011": Code(
        "a YAML tag",
        "Tags such as !secret belong to other programs. What must not stand in launcher.yaml goes into "
        "the plugin's environment file, which only its user can read.",
        "plugins:\n  weather:\n    environmentFile: config/weather.env",
    ),
    "L012": Code(
        "more problems",
        "The file has more than 1000 problems; the rest is only counted.",
    ),
    "L101": Code(
        "no mapping at the top",
        "launcher.yaml consists of `key: value` lines.",
        "runtime: runtime\nlogLevel: info",
    ),
    "L102": Code(
        "a key given twice",
        "Only one of the two can be meant. Some programs take the last one without a word.",
    ),
    "L103": Code(
        "a value of the wrong kind",
        "The key needs another kind of value, e.g. a list where text is given. true and false stand without quotes.",
        "args: [--verbose, --port, 8091]\nenvironment: {TZ: UTC}\nautostart:\n  - history\n  - zwavejs",
    ),
    "L104": Code(
        "an unknown key",
        "Nothing would happen if it were ignored, and that is hard to find out. Keys are case sensitive. "
        "The help line lists the keys that are possible at that place; `hiveot-launcher schema` gives an "
        "editor the same knowledge.",
    ),
    "L105": Code(
        "a key without value",
        "The default is used. It is a warning because the value may have been lost in editing.",
    ),
    "L106": Code(
        "a key given under two names",
        "provideDiscovery is the name in HiveOT's sample file for provideDirectoryURL; give one of them.",
    ),
    "L107": Code(
        "something is missing",
        "The value is not complete: a probe without a way of probing, a variable without value, a name "
        "without executable.",
        'ready: {tcp: 8091, timeout: 30s}\nenvironment: {DEBUG: ""}',
    ),
    "L108": Code(
        "keys that exclude each other",
        "A probe has one way of finding out.",
        "ready: {log: 'driver ready'}",
    ),
    "L109": Code(
        "a remark without #",
        "HiveOT's sample file has `#createPluginCred: true (default true)`. Without the first `#` the "
        "remark becomes part of the value. It is understood here, but by few other programs.",
        "createPluginCred: true    # (default true)",
    ),
    "L110": Code(
        "a setting without effect",
        "Another setting counts instead, or there is nothing it could act on. Remove it, so that nobody relies on it.",
    ),
    "L201": Code(
        "not one of the possible words",
        "The message lists them; case counts.",
    ),
    "L202": Code(
        "not a duration",
        "A number with ms, s, m, h or d, also combined. A bare number is in seconds, for runtimeWait and "
        "startWait in milliseconds, as in the Go launcher.",
        "delay: 1s\nlimit: 1h30m\nstartWait: 100",
    ),
    "L203": Code(
        "not a size",
        "A number with kB, MB, GB (decimal) or KiB, MiB, GiB (binary). A bare number is in bytes. `200M` "
        "could be either, and `200m` means milli in some programs, so they are refused.",
        "memory: 200MB",
    ),
    "L204": Code(
        "not a percentage",
        "A number with the sign %. For `cpu` 100% is one core.",
        "cpu: 80%\njitter: 10%",
    ),
    "L205": Code(
        "out of range",
        "The value is too small or too large to be meant, or contradicts another one as the message says.",
    ),
    "L206": Code(
        "not a usable URL",
        "mqtts:// or wss:// with a host name; TLS is always used and verified. A password does not belong "
        "into a URL: it would be seen in process lists. The launcher logs in with certs/launcher.token.",
        "hub:\n  url: mqtts://hub.local:8883",
    ),
    "L207": Code(
        "not a usable address",
        "host:port, :port for all addresses, or a port. IPv6 addresses stand in brackets.",
        "listen: 0.0.0.0:8883\nlisten: '[::1]:8883'",
    ),
    "L208": Code(
        "not a variable name",
        "Letters, digits and `_`, not beginning with a digit.",
        "environment: {MY_VAR: x}",
    ),
    "L209": Code(
        "a character that cannot be passed on",
        "Arguments, variables and paths cannot contain NUL or half a Unicode character.",
    ),
    "L210": Code(
        "not a regular expression",
        "The syntax is that of Python's module re. It is searched for anywhere in a line.",
        "ready: {log: 'listening on port [0-9]+'}",
    ),
    "L211": Code(
        "not a command line",
        "Quotes must come in pairs, as in a shell.",
    ),
    "L212": Code(
        "not a usable path",
        "`~` and variables are not expanded, because the launcher may run as another user. A relative "
        "path cannot leave the folder that it refers to.",
        "command: /opt/zwave/bin/zwavejs",
    ),
    "L213": Code(
        "arguments in command",
        "`command` is the executable alone; it is not given to a shell. Arguments have a key of their "
        "own, so that none needs quoting.",
        "command: zwavejs\nargs: [--verbose]",
    ),
    "L301": Code(
        "not a valid name",
        "A plugin's name becomes its account on the hub, a topic level, a file name and a program name in "
        "supervisord. It has letters, digits, `_`, `.` and `-`, at most 64, and begins with a letter or "
        "digit.",
    ),
    "L302": Code(
        "a reserved name",
        "runtime and launcher are programs in supervisord, admin, authn and the launcher's ID are "
        "accounts of the hub, and `all` means every plugin on the command line. The executable may have "
        "such a name, the plugin not.",
        "autostart:\n  - zwave-admin: admin     # plugins/admin as plugin zwave-admin",
    ),
    "L303": Code(
        "listed twice",
        "A plugin runs once. To run the same executable twice, give each a name (and so an account) of its own.",
        "autostart:\n  - zwavejs\n  - zwavejs-2: zwavejs",
    ),
    "L304": Code(
        "an unknown dependency",
        "dependsOn names a plugin that is neither in autostart nor under `plugins:` nor in the plugins "
        "folder. The hub need not be named: every plugin waits for it.",
    ),
    "L305": Code(
        "a circle of dependencies",
        "Each plugin of the circle waits for the next one, so none would ever start.",
    ),
    "L306": Code(
        "a dependency that does not start",
        "A plugin in autostart waits for one that nobody starts by itself. That can be meant, if somebody "
        "starts it by hand.",
    ),
    "L307": Code(
        "two executables for one plugin",
        "`- name: executable` in autostart and `command` must not differ.",
    ),
    "L308": Code(
        "settings of the hub that contradict each other",
        "The embedded hub (bin/runtime of hiveot-supervisor) speaks MQTT over TLS, HiveOT's Go hub wss. A port is "
        "either for tokens and passwords or for certificates.",
        "runtime: runtime\nhub:\n  listen: 8883",
    ),
    "L309": Code(
        "where the hub is, is a guess",
        "Without `runtime` the hub runs elsewhere, and hub.url should say where.",
        "hub:\n  url: wss://localhost:8444/wot/wss",
    ),
    "L310": Code(
        "two different ports",
        "Plugins are sent to a port of this machine on which the embedded hub does not listen.",
    ),
    "L401": Code(
        "the runtime is missing",
        "`runtime` is the hub's executable in the folder bin. Without a hub no plugin can log in, so this "
        "is an error. If the hub runs elsewhere, remove `runtime` and give hub.url.",
    ),
    "L402": Code(
        "a plugin's executable is missing",
        "The other plugins run; this one is listed as `missing` and starts when the file appears. `check "
        "--strict` makes it an error.",
    ),
    "L403": Code(
        "a file that cannot be executed",
        "A program is a regular file that is not empty and has the owner's execute bit.",
        "chmod +x plugins/zwavejs",
    ),
    "L404": Code(
        "there is no plugins folder",
        "`hiveot-launcher init` makes the folders of a home.",
    ),
    "L405": Code(
        "an executable that is ignored",
        "Executables in the plugins folder are plugins by their file name. This one's name cannot be a "
        "plugin's (see L301, L302); list it under another name to use it.",
        "autostart:\n  - my-plugin: 'my plugin'",
    ),
    "L406": Code(
        "an environment file is missing",
        "The plugin cannot start without it. It has NAME=value lines and is read at each start.",
    ),
    "L407": Code(
        "an unknown user",
        "`user` names a user that this machine does not have; the plugin cannot start.",
    ),
    "L408": Code(
        "the home's path cannot be used",
        "supervisord listens on run/supervisor.sock, and the kernel limits the path of a socket to 107 bytes.",
    ),
}


def explain(code: str) -> str | None:
    """The text for `check --explain CODE`; None when there is no such code."""
    entry = CODES.get(code.upper())
    if entry is None:
        return None
    parts = [f"{code.upper()}: {entry.title}", textwrap.fill(entry.text, 90)]
    if entry.example:
        parts.append("\n".join(f"    {line}" for line in entry.example.splitlines()))
    return "\n\n".join(parts)
