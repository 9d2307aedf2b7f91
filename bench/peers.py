"""``bin/bench peers --setup``: programs to measure beside, each in an environment of its own: never among our dependencies.

Here are the environments, and the gateways that run in them; `bench.judge_peers` has the programs that judge. Versions are
pinned, so that figures can be compared. Nothing of the caller's environment but the path, the home folder and the package
managers' own settings reaches them, and no key of anybody's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.table import show
from local.programs import ROOT, Program

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path

CACHE = ROOT / ".knudge" / "bench"
_SETUP_TIMEOUT_S = 900.0
_THERE = "there"
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
_PACKAGE_MANAGERS = ("PIP_", "NPM_CONFIG_", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Missing(Exception):  # noqa: N818 - an answer, not a failure
    """A peer that cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway under comparison: ``headers`` and ``model`` are what its clients send; ``note`` says how it is set up."""

    program: Program
    model: str
    note: str
    headers: Mapping[str, str] = field(default_factory=dict)


def environment(**more: str) -> dict[str, str]:
    """What a program of a bench may know of this machine."""
    return {**{name: os.environ[name] for name in _PASSED_ON if name in os.environ}, **more}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--setup", action="store_true", help="install what is missing (several GB, minutes); else only look")


def run(*, rounds: int, setup: bool) -> dict[str, float]:
    """Figures ``<peer>_there``: 1 where it is installed as pinned, else 0."""
    del rounds
    from bench.judge_peers import JUDGES

    homes = [LITELLM, PORTKEY, *(peer.home for peer in JUDGES if peer.home)]
    states = {home.name: _state(home, setup=setup) for home in homes}
    show(["peer", "pinned", "state"], [[home.name, home.requirements[0], states[home.name]] for home in homes])
    return {f"{name}_there": float(state == _THERE) for name, state in states.items()}


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


def _state(home: Home, *, setup: bool) -> str:
    try:
        if setup:
            home.made()
    except Missing as error:
        return f"missing: {error}"
    return _THERE if home.is_there else "missing: bin/bench peers --setup"


LITELLM = Home("litellm", ("litellm[proxy]==1.106.0",))  # pinned also because the release 1.107.0 was compromised
PORTKEY = Home("portkey", ("@portkey-ai/gateway@1.15.2",), is_node=True)


def litellm(upstream_url: str, port: int, folder: Path) -> Peer:
    """LiteLLM's proxy with one worker, without a database or a key. Raises `Missing`."""
    program = LITELLM.made() / "bin" / "litellm"
    config = folder / "litellm.json"
    model = {"model": "openai/simulated-judge", "api_base": f"{upstream_url}/v1", "api_key": "none"}
    models = [{"model_name": "judge", "litellm_params": model}]
    config.write_text(json.dumps({"model_list": models, "litellm_settings": {"telemetry": False}}), encoding="utf-8")
    argv = (str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    # Without authentication, as `completions` is measured; it listens on loopback only.
    switches = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    env = environment(**switches, HOME=str(folder))
    return Peer(Program("litellm", argv, env, port, "/health/liveliness"), "judge", f"{LITELLM.requirements[0]}, 1 worker")


def portkey(upstream_url: str, port: int, folder: Path) -> Peer:
    """Portkey's open gateway on Node. Raises `Missing`."""
    script = PORTKEY.made() / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    argv = ("node", str(script), "--headless", f"--port={port}")
    headers = {
        "authorization": "Bearer none",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{upstream_url}/v1",
    }
    env = environment(NODE_ENV="production", HOME=str(folder))
    return Peer(Program("portkey", argv, env, port, "/"), "simulated-judge", PORTKEY.requirements[0], headers)


def nginx(upstream_url: str, port: int, folder: Path) -> Peer:
    """The least that passing bytes on costs: nginx's ``proxy_pass`` with one worker. Raises `Missing`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Missing("nginx is not installed")
    config = folder / "nginx.conf"
    config.write_text(_nginx_conf(upstream_url.removeprefix("http://"), port, folder), encoding="utf-8")
    argv = (program, "-c", str(config), "-p", str(folder), "-e", str(folder / "nginx-error.log"))
    return Peer(Program("nginx", argv, environment(), port, "/livez"), "simulated-judge", "proxy_pass, 1 worker")


PEERS: dict[str, Callable[[str, int, Path], Peer]] = {"litellm": litellm, "portkey": portkey, "nginx": nginx}


def _nginx_conf(upstream: str, port: int, folder: Path) -> str:
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_max_body_size 16m; client_body_buffer_size 2m; {paths}
  upstream model {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


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
