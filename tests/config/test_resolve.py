"""From a valid file to the model: arguments, environment, overrides, paths; always the same for the same input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.configs import GO_RUNTIME, executable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiveot_supervisor.config.load import Inspection
from hiveot_supervisor.model import (
    AliveProbe,
    Condition,
    CredentialChange,
    Dependency,
    Driver,
    Hub,
    Launcher,
    LimitAction,
    Limits,
    Logs,
    Plugin,
    Policy,
    Probe,
    ProbeKind,
    Restart,
    Stop,
    from_json,
    to_json,
)

Check = Callable[[str], Inspection]
URL = "--serverURL=mqtts://localhost:8883"


def load(check: Check, text: str) -> Launcher:
    found = check(text)
    assert found.launcher is not None, found.diagnostics
    return found.launcher


def plugin(check: Check, settings: str, top: str = "") -> Plugin:
    """The plugin `zwavejs` with the settings (YAML in flow style)."""
    launcher = load(check, f"runtime: runtime\n{top}\nplugins:\n  zwavejs: {settings}\n")
    found = launcher.plugin("zwavejs")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("settings", "top", "args"),
    [
        ("{}", "", (URL,)),
        ("{args: [-v, '--name=a b', '']}", "", (URL, "-v", "--name=a b", "")),
        ("{args: [1, true, 0x10, 1e3, no]}", "", (URL, "1", "true", "0x10", "1e3", "no")),
        ("{command: zwavejs-cb}", "", ("--clientID=zwavejs", URL)),
        ("{command: zwavejs-cb, provideClientID: false, args: [x]}", "", (URL, "x")),
        ("{command: /bin/sh, provideServerURL: false}", "", ("--clientID=zwavejs",)),
        ("{}", "provideServerURL: false", ()),
        ("{provideServerURL: true}", "provideServerURL: false", (URL,)),
        ("{}", "directoryURL: https://d/", (URL, "--directoryURL=https://d/")),
        ("{provideDirectoryURL: false}", "directoryURL: https://d/", (URL,)),
        ("{}", "hub: {url: 'mqtts://hub.local'}", ("--serverURL=mqtts://hub.local:8883",)),
    ],
)
def test_arguments(settings: str, top: str, args: tuple[str, ...], check: Check) -> None:
    assert plugin(check, settings, top).args == args


def test_environment_in_order_and_the_users_wins(check: Check, home: Path) -> None:
    found = plugin(check, "{environment: {TZ: UTC, LOGLEVEL: debug, EMPTY: '', N: 5, YES: on}}", "logLevel: info")
    assert dict(found.environment) == {
        "LOGLEVEL": "debug",
        "HIVEOT_HOME": str(home),
        "HIVEOT_CERTS": str(home / "certs"),
        "HIVEOT_SERVERURL": "mqtts://localhost:8883",
        "HIVEOT_CLIENTID": "zwavejs",
        "TZ": "UTC",
        "EMPTY": "",
        "N": "5",
        "YES": "on",
    }
    assert len({name for name, _ in found.environment}) == len(found.environment)


def test_free_text_arrives_unchanged(check: Check) -> None:
    text = "%(x)s ; # \"'\\ = , é漢\U0001f600\n\t`$HOME` " + "x" * 4000
    quoted = json.dumps(text, ensure_ascii=False)
    found = plugin(check, f"{{args: [{quoted}], environment: {{A: {quoted}}}}}")
    assert found.args[-1] == text
    assert dict(found.environment)["A"] == text


def test_every_setting_of_a_plugin(check: Check, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "z.env").write_text("A=b\n")
    found = plugin(
        check,
        """
    command: ./zwavejs-cb
    environmentFile: config/z.env
    dependsOn: [history, {owserver: ready}]
    ready: {log: 'driver ready', timeout: 5m, every: 2s}
    alive: {http: 'http://localhost:8091/health', every: 1m, timeout: 2s, failures: 5}
    requires: [/dev/null, "/dev/serial/by-id/usb *"]
    user: root
    autorestart: false
    createPluginCred: false
    onCredentialChange: HUP
    restart: {delay: 2s, factor: 1.5, limit: 10m, resetAfter: 1h, maxFailures: 7, jitter: 25%}
    limits: {memory: 64MiB, cpu: 150%, for: 1m, action: restart}
    stop: {signal: SIGINT, timeout: 500ms}
    logs: {maxSize: 0, backups: 0}
""",
        "autostart: [zwavejs]",
    )
    assert found == Plugin(
        id="zwavejs",
        executable=home / "plugins" / "zwavejs-cb",
        args=("--clientID=zwavejs", URL),
        environment=found.environment,
        environment_file=home / "config" / "z.env",
        directory=home,
        order=0,
        depends_on=(Dependency("history", Condition.STARTED), Dependency("owserver", Condition.READY)),
        ready=Probe(ProbeKind.LOG, "driver ready", 2.0, 300.0),
        alive=AliveProbe(Probe(ProbeKind.HTTP, "http://localhost:8091/health", 60.0, 2.0), 5),
        requires=(Path("/dev/null"), Path("/dev/serial/by-id/usb *")),
        user="root",
        create_cred=False,
        restart=Restart(Policy.NEVER, 2.0, 1.5, 600.0, 3600.0, 7, 0.25),
        limits=Limits(64 * 1024**2, 150.0, 60.0, LimitAction.RESTART),
        stop=Stop("INT", 0.5),
        logs=Logs(0, 0),
        log_file=home / "logs" / "zwavejs.log",
        on_credential_change=CredentialChange.HUP,
    )


@pytest.mark.parametrize(
    ("ready", "probe"),
    [
        ("notify", Probe(ProbeKind.NOTIFY)),
        ("hub", Probe(ProbeKind.HUB)),
        ("{notify: true, timeout: 10s}", Probe(ProbeKind.NOTIFY, timeout=10.0)),
        ("{hub: true}", Probe(ProbeKind.HUB)),
        ("{tcp: 8091}", Probe(ProbeKind.TCP, "127.0.0.1:8091")),
        ("{tcp: 'device.local:502'}", Probe(ProbeKind.TCP, "device.local:502")),
        ("{tcp: '[::1]:80'}", Probe(ProbeKind.TCP, "[::1]:80")),
        ("{http: 'https://localhost:1/x?y=z'}", Probe(ProbeKind.HTTP, "https://localhost:1/x?y=z")),
        ("{command: 'test -e \"/tmp/a b\"'}", Probe(ProbeKind.COMMAND, 'test -e "/tmp/a b"')),
        ("{log: 'up in [0-9]+ ms'}", Probe(ProbeKind.LOG, "up in [0-9]+ ms")),
        ("", None),
    ],
)
def test_readiness(ready: str, probe: Probe | None, check: Check) -> None:
    assert plugin(check, f"{{ready: {ready}}}").ready == probe


def test_defaults_of_all_plugins_are_overridden_member_by_member(check: Check) -> None:
    launcher = load(
        check,
        "runtime: runtime\n"
        "restart: {policy: always, delay: 5s}\nlimits: {memory: 1GB}\nstop: {timeout: 1m}\nlogs: {backups: 2}\n"
        "createPluginCred: false\nonCredentialChange: restart\n"
        "plugins:\n  zwavejs:\n    restart: {limit: 30s}\n    limits: {cpu: 50%}\n"
        "    createPluginCred: true\n    onCredentialChange: none\n",
    )
    history, zwavejs = launcher.plugin("history"), launcher.plugin("zwavejs")
    assert history is not None
    assert zwavejs is not None
    assert history.restart == Restart(Policy.ALWAYS, delay=5.0)
    assert zwavejs.restart == Restart(Policy.ALWAYS, delay=5.0, limit=30.0)
    assert (history.limits, zwavejs.limits) == (Limits(memory=10**9), Limits(memory=10**9, cpu=50.0))
    assert history.stop == zwavejs.stop == Stop(timeout=60.0)
    assert history.logs == zwavejs.logs == Logs(backups=2)
    assert (history.create_cred, zwavejs.create_cred) == (False, True)
    assert (history.on_credential_change, zwavejs.on_credential_change) == (
        CredentialChange.RESTART,
        CredentialChange.NONE,
    )
    assert launcher.defaults is not None
    assert launcher.defaults.restart == history.restart
    assert launcher.defaults.args == history.args == (URL,)
    assert {**dict(launcher.defaults.environment), "HIVEOT_CLIENTID": "history"} == dict(history.environment)


def test_plugins_stand_after_what_they_depend_on(check: Check) -> None:
    launcher = load(
        check,
        "runtime: runtime\nautostart: [zwavejs, a: history, owserver]\n"
        "plugins:\n  zwavejs: {dependsOn: [owserver, history]}\n  history: {dependsOn: [zwavejs-cb]}\n",
    )
    assert [(p.id, p.order) for p in launcher.plugins] == [
        ("owserver", 2),
        ("zwavejs-cb", None),
        ("history", None),
        ("zwavejs", 0),
        ("a", 1),
    ]


def test_runtime_is_a_program_without_credentials_and_arguments(check: Check, home: Path) -> None:
    runtime = load(check, "runtime: runtime\nlogLevel: info\n").runtime
    assert runtime is not None
    assert (runtime.id, runtime.executable, runtime.args) == ("runtime", home / "bin" / "runtime", ())
    assert (runtime.create_cred, runtime.order, runtime.log_file) == (False, None, home / "logs" / "runtime.log")
    variables = dict(runtime.environment)
    assert (variables["LOGLEVEL"], variables["HIVEOT_HOME"]) == ("info", str(home))
    assert not {"HIVEOT_CLIENTID", "HIVEOT_SERVERURL"} & variables.keys()
    assert load(check, "").runtime is None


def test_launcher_files(check: Check, home: Path) -> None:
    launcher = load(check, "runtime: runtime\nid: launcher-2\n")
    assert (launcher.key_file, launcher.token_file) == (home / "certs/launcher-2.key", home / "certs/launcher-2.token")
    launcher = load(check, "runtime: runtime\nkeyFile: other.key\ntokenFile: /run/secrets/token\nlogsDir: /var/log/x\n")
    assert (launcher.key_file, launcher.token_file) == (home / "certs/other.key", Path("/run/secrets/token"))
    assert launcher.paths.logs == Path("/var/log/x")
    assert all(p.log_file == Path(f"/var/log/x/{p.id}.log") for p in launcher.plugins)


@pytest.mark.parametrize(
    ("hub", "expected"),
    [
        ("", Hub()),
        ("listen: 1884", Hub(url="mqtts://localhost:1884", listen_port=1884)),
        ("listen: ':1884'", Hub(url="mqtts://localhost:1884", listen_host="0.0.0.0", listen_port=1884)),
        ("listen: '[::1]:1884'", Hub(url="mqtts://localhost:1884", listen_host="::1", listen_port=1884)),
        ("listenCertificates: ':1886'", Hub(certificates_host="0.0.0.0", certificates_port=1886)),
        ("url: 'mqtts://localhost:1885'", Hub(url="mqtts://localhost:1885", listen_port=1885)),
        ("url: 'mqtts://hub.local'", Hub(url="mqtts://hub.local:8883")),
        ("url: 'mqtts://hub.local/'", Hub(url="mqtts://hub.local:8883")),
        ("{driver: mosquitto, broker: /bin/sh}", Hub(driver=Driver.MOSQUITTO, broker_path=Path("/bin/sh"))),
        (
            "{driver: external, url: 'mqtts://b:1', adminFile: /x/admin}",
            Hub(url="mqtts://b:1", driver=Driver.EXTERNAL, listen_port=1, admin_file=Path("/x/admin")),
        ),
    ],
)
def test_embedded_hub(hub: str, expected: Hub, check: Check) -> None:
    found = check(f"runtime: runtime\nhub:\n  {hub}\n")
    assert found.launcher is not None, found.diagnostics
    assert found.launcher.hub == expected
    assert found.diagnostics == ()


def test_other_hubs(check: Check, home: Path) -> None:
    executable(home / "bin" / "hub", GO_RUNTIME)
    executable(home / "bin" / "hiveot-runtime", GO_RUNTIME)
    (home / "bin" / "linked").symlink_to("hiveot-runtime")
    assert load(check, "runtime: hub\n").hub == Hub(url="wss://localhost:8444/wot/wss", embedded=False)
    assert load(check, "runtime: linked\n").hub == Hub()
    assert load(check, "hub: {url: 'wss://hub.local/wot/wss'}\n").hub == Hub(
        url="wss://hub.local/wot/wss", embedded=False
    )
    assert load(check, "").hub == Hub(embedded=False)
    assert load(check, f"runtime: {home}/bin/runtime\n").hub == Hub()


def test_missing_executables_are_marked(check: Check, home: Path) -> None:
    launcher = load(
        check, "runtime: runtime\nautostart: [nothing, history]\nplugins:\n  other: {command: /nonexistent/x}\n"
    )
    assert {p.id for p in launcher.plugins if not p.exists} == {"nothing", "other"}
    executable(home / "plugins" / "nothing")
    assert all(p.exists for p in load(check, "runtime: runtime\nautostart: [nothing, history]\n").plugins)


def test_model_travels_as_json(check: Check) -> None:
    launcher = load(
        check, "runtime: runtime\nautostart: [history]\nplugins:\n  zwavejs: {ready: {tcp: 1}, alive: {tcp: 1}}\n"
    )
    assert from_json(Launcher, json.loads(json.dumps(to_json(launcher)))) == launcher


NAMES = ["history", "zwavejs", "owserver", "missing", "x1"]
free = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=20)
settings_of_one = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(free, max_size=3),
        "environment": st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), free, max_size=3),
        "ready": st.sampled_from(["hub", {"tcp": 1}, {"log": "x"}]),
        "restart": st.fixed_dictionaries(
            {}, optional={"delay": st.sampled_from(["1s", "2m"]), "maxFailures": st.integers(0, 9)}
        ),
        "requires": st.lists(st.sampled_from(["/dev/null", "/x/y"]), max_size=2),
        "provideServerURL": st.booleans(),
    },
)
files = st.fixed_dictionaries(
    {"runtime": st.just("runtime")},
    optional={
        "autostart": st.lists(st.sampled_from(NAMES), unique=True),
        "logPlugins": st.booleans(),
        "startWait": st.integers(0, 1000),
        "plugins": st.dictionaries(st.sampled_from(NAMES), settings_of_one, max_size=4),
    },
)


@given(document=files)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_file_gives_the_same_model_and_keeps_free_text(
    document: dict[str, dict[str, dict[str, object]]], check: Check
) -> None:
    text = json.dumps(document, ensure_ascii=False)
    launcher = load(check, text)
    assert load(check, text) == launcher
    for name, given_settings in document.get("plugins", {}).items():
        found = launcher.plugin(name)
        assert found is not None
        args = tuple(given_settings.get("args", ()))
        assert found.args[len(found.args) - len(args) :] == args
        assert dict(found.environment).items() >= dict(given_settings.get("environment", {})).items()
    reordered = dict(document)
    if "plugins" in reordered:
        reordered["plugins"] = dict(reversed(document["plugins"].items()))
    other = load(check, json.dumps(reordered, ensure_ascii=False))
    assert dataclasses.replace(other, source_hash="") == dataclasses.replace(launcher, source_hash="")
