"""Choose the hub binding by the scheme of the URL; the binding's library is imported only when it is chosen."""

from __future__ import annotations

from hiveot_supervisor.hub.admission import Allowance
from hiveot_supervisor.hub.client import Account, HubClient


def make_client(
    url: str,
    account: Account,
    *,
    agent: bool = True,
    instance: str | None = None,
    version: str = "",
    allowance: Allowance | None = None,
) -> HubClient:
    """A client for the hub at `url` (`mqtts:` or `wss:`), not started yet.

    agent, instance, version, allowance: see `hub.mqtt.MqttHubClient`. Raises HubError for any other URL.
    """
    if url.startswith(("wss:", "ws:")):
        from hiveot_supervisor.hub.wss import WssHubClient

        return WssHubClient(url, account, agent=agent, allowance=allowance)
    from hiveot_supervisor.hub.mqtt import MqttHubClient

    return MqttHubClient(url, account, agent=agent, instance=instance, version=version, allowance=allowance)
