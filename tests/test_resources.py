"""The shipped files are found, and a missing one is named."""

from pathlib import Path

import pytest

from hiveot_supervisor import resources
from hiveot_supervisor.errors import HiveotError


def test_sample_is_found_in_the_checkout() -> None:
    assert resources.template_path("launcher.yaml").name == "launcher.yaml"


def test_wheel_layout_wins_over_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "hiveot_supervisor"
    (package / "templates").mkdir(parents=True)
    shipped = package / "templates" / "launcher.yaml"
    shipped.write_text("id: launcher\n")
    (package.parent / "launcher.yaml").write_text("id: stranger\n")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.template_path("launcher.yaml") == shipped


def test_missing_file_is_named() -> None:
    with pytest.raises(HiveotError, match=r"the file nothing\.j2 of hiveot-supervisor is missing"):
        resources.template_path("nothing.j2")
