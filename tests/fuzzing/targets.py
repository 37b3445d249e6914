"""All fuzzing targets by name; each is made when it is wanted, with a folder of its own to write in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzzing import account_targets, broker_targets, config_targets, credential_targets, hub_targets, machine_targets
from fuzzing.target import Target

TARGETS: dict[str, Callable[[Path], Target]] = {
    "launcher-yaml": config_targets.launcher_yaml,
    "generated-json": config_targets.generated_json,
    "environment-file": config_targets.environment_file,
    "listener": machine_targets.listener,
    "xmlrpc": machine_targets.xmlrpc_answer,
    "reason": machine_targets.reason,
    "journal": machine_targets.journal,
    "log-file": machine_targets.log_file,
    "mqtt": hub_targets.mqtt_message,
    "wss-messages": hub_targets.wss_message,
    "wss-frames": hub_targets.wss_frames,
    "paseto": credential_targets.paseto,
    "certificate-dates": credential_targets.certificate_dates,
    "csr": credential_targets.signing_request,
    "keys": credential_targets.key_files,
    "accounts": account_targets.accounts,
    "mqtt-packets": broker_targets.mqtt_packets,
    "dynsec": broker_targets.dynsec_answers,
}
