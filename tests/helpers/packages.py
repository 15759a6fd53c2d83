"""Packages that are installed for the tests, but not for every user."""

import sys

import pytest


def hide_package(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let imports of a package fail, as where it is not installed."""
    modules = {name for name in sys.modules if name.partition(".")[0] == package}
    for name in modules | {package}:
        monkeypatch.setitem(sys.modules, name, None)
