"""Environments of programs to measure beside, each in a folder of its own: never among our dependencies.

Versions are pinned, so that figures can be compared. Nothing of the caller's environment but the path, the home folder and the
package managers' own settings reaches them, and no key of anybody's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.programs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CACHE = ROOT / ".knudge" / "bench"
_SETUP_TIMEOUT_S = 900.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
_PACKAGE_MANAGERS = ("PIP_", "NPM_CONFIG_", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Missing(Exception):  # noqa: N818 - an answer, not a failure
    """A peer that cannot be had on this machine; the message says why."""


def environment(**more: str) -> dict[str, str]:
    """What a program of a bench may know of this machine."""
    return {**{name: os.environ[name] for name in _PASSED_ON if name in os.environ}, **more}


@dataclass(frozen=True, slots=True)
class Home:
    """A virtual environment, or with ``is_node`` a folder with ``node_modules``; the first requirement is what it is for."""

    name: str
    requirements: tuple[str, ...]
    is_node: bool = False

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return CACHE / self.name

    @property
    def is_there(self) -> bool:
        """Whether it is installed as pinned."""
        stamp = self.folder / ".installed"
        return stamp.exists() and stamp.read_text(encoding="utf-8") == " ".join(self.requirements)

    def made(self) -> Path:
        """Its folder, installed unless it is there. Raises `Missing`."""
        if not self.is_there:
            self._install_node() if self.is_node else self._install_python()
            (self.folder / ".installed").write_text(" ".join(self.requirements), encoding="utf-8")
        return self.folder

    def _install_python(self) -> None:
        _run([sys.executable, "-m", "venv", "--clear", str(self.folder)], "Python's venv")
        pip = str(self.folder / "bin" / "pip")
        _run([pip, "install", "--quiet", "--disable-pip-version-check", *self.requirements], self.requirements[0])

    def _install_node(self) -> None:
        if shutil.which("npm") is None:
            raise Missing("npm is not installed")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts"]
        _run(["npm", "install", "--prefix", str(self.folder), *options, *self.requirements], self.requirements[0])


def _run(argv: list[str], what: str) -> None:
    print(f"setting up {what} below {CACHE.relative_to(ROOT)} ...", flush=True)
    managers = {name: value for name, value in os.environ.items() if name.upper().startswith(_PACKAGE_MANAGERS)}
    try:
        done = subprocess.run(
            argv, env=environment(**managers), capture_output=True, text=True, timeout=_SETUP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{what} took longer than {_SETUP_TIMEOUT_S:.0f} s to install") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Missing(f"{what} cannot be installed: {' '.join(last)[:200]}")
