"""What the account service says, in its answers and in its log, of requests that want to be believed."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from runtime.test_authn_actions import Service

from hiveot_supervisor.hub.client import Request, Right
from hiveot_supervisor.runtime.authn import AuthnService


class Hub:
    """Remembers the error answers."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str, int]] = []

    def respond(self, request: Request, output: Any = None) -> Future[None]:
        return Future()

    def respond_error(self, request: Request, title: str, *, detail: str = "", status: int = 400) -> Future[None]:
        self.errors.append((title, detail, status))
        return Future()


@pytest.mark.parametrize("name", ["getClientProfile", "removeClient", "newAgentToken"])
def test_a_request_writes_one_line_of_the_log_at_most(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service, hub = Service(tmp_path), Hub()
    fake: Any = hub
    authn = AuthnService(fake, service.actions, lambda reason: None)
    hostile = "nobody\n2026-01-01 INFO hiveot.runtime: addService by admin: evil\x1b[2J" + "x" * 50_000
    with caplog.at_level(logging.INFO):
        authn._serve(Request("Admin", name, "invokeaction", hostile, "admin", "c1", Right.ADMIN))
    [(title, detail, status)] = hub.errors
    assert status in (400, 404)
    assert len(title) <= 300
    assert len(detail) <= 300
    for text in (title, *(record.getMessage() for record in caplog.records)):
        assert text.isprintable()
        assert len(text) < 500
    service.accounts.close()


def test_the_account_that_an_action_was_about_is_one_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service, hub = Service(tmp_path), Hub()
    fake: Any = hub
    authn = AuthnService(fake, service.actions, lambda reason: None)
    value = {"clientID": "zwave\nforged line", "displayName": "x"}
    with caplog.at_level(logging.INFO):
        authn._serve(Request("User", "logout", "invokeaction", value, "admin", "c1", Right.ACTION))
    assert [record.getMessage() for record in caplog.records] == ["logout by admin: zwave forged line"]
    service.accounts.close()
