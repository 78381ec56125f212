"""The free memory of a device or host."""

from __future__ import annotations

import os
from pathlib import Path

import torch

PROCESS = 600 * 2**20
"""Baseline of a process: bytes for Python, torch and the other imports."""

_DEVICE_SHARE, _HOST_SHARE = 0.9, 0.8


def free(device: str) -> int:
    """Return the bytes that this process may use on a device: most of what is free there."""
    if device.startswith("cuda"):
        return int(_DEVICE_SHARE * torch.cuda.mem_get_info()[0])
    rooms = [_left_on_host(), *_left_in_container(Path("/sys/fs/cgroup"))]
    return int(_HOST_SHARE * min(rooms))


def _left_on_host() -> int:
    """Return the host's available memory in bytes."""
    about = Path("/proc/meminfo")
    if about.exists():
        return int(about.read_text(encoding="utf-8").partition("MemAvailable:")[2].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_in_container(group: Path) -> list[int]:
    """Return the bytes left below the container's limit (cgroups v2), or nothing without a limit."""
    try:
        most, used = ((group / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [max(0, int(most) - int(used))] if most != "max" else []
