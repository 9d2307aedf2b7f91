"""Other gateways, as their makers mean them to be run."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.rig.homes import Home, Missing, environment
from local.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway under comparison: ``headers`` and ``model`` are what its clients send; ``note`` says how it is set up."""

    program: Program
    model: str
    note: str
    headers: Mapping[str, str] = field(default_factory=dict)


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
