"""How much memory there is, and how amounts of it are told."""

from __future__ import annotations

import os
from pathlib import Path

import torch

PROCESS = 600 * 2**20
"""What Python, torch and what else is imported take in a process."""

_DEVICE_SHARE, _HOST_SHARE = 0.9, 0.8


def free(device: str) -> int:
    """Return the bytes that this process may well take on a device: most of what is free there."""
    if device.startswith("cuda"):
        return int(_DEVICE_SHARE * torch.cuda.mem_get_info()[0])
    rooms = [_left_on_host(), *_left_in_container(Path("/sys/fs/cgroup"))]
    return int(_HOST_SHARE * min(rooms))


def _left_on_host() -> int:
    about = Path("/proc/meminfo")
    if about.exists():
        return int(about.read_text(encoding="utf-8").partition("MemAvailable:")[2].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_in_container(group: Path) -> list[int]:
    """Return what the limit of the container leaves, where there is one (cgroups, version 2)."""
    try:
        most, used = ((group / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [max(0, int(most) - int(used))] if most != "max" else []


def format_memory(amount: int) -> str:
    """Return an amount of memory in MiB, or from a GiB on in these."""
    return f"{amount / 2**30:,.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:,.1f} MiB"
