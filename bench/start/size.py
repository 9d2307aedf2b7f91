"""What the image holds beside its base: the locked packages as they are installed here, byte code included, and the code."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from bench.rig.table import show
from local.programs import ROOT

_LOCK = ROOT / "requirements" / "run.txt"
_CODE = ("common", "functions", "cli", "local", "simulator", "knative", "examples")  # as the Dockerfile copies it
_SHOWN = 12
_MIB = 1024 * 1024


def sizes() -> dict[str, float]:
    """Figures ``start_packages_mib``, ``start_code_mib``; prints the largest. What is locked for other systems is left out."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", _LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: size for name in names if (size := _package(name))}
    code = sum(_size(path) for folder in _CODE for path in (ROOT / folder).rglob("*"))
    largest = sorted(found.items(), key=lambda each: -each[1])
    rest = sum(size for _, size in largest[_SHOWN:])
    rows = [*largest[:_SHOWN], (f"{len(largest) - _SHOWN} more", rest), ("our code", code)]
    show(["package", "MiB"], [[name, size / _MIB] for name, size in rows])
    return {"start_packages_mib": sum(found.values()) / _MIB, "start_code_mib": code / _MIB}


def _package(name: str) -> int:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0
    return sum(_size(Path(str(file.locate()))) for file in files)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
