"""What this machine is, in a few words for a table: figures mean little without it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def described(device: str = "cpu") -> str:
    """Processor and how many there are, as in "AMD EPYC, 2 processors"; before it the GPU, when `device` (torch's name for it) is one."""
    count = os.cpu_count() or 1
    host = f"{processor()}, {count} processor{'s' if count > 1 else ''}"
    if not device.startswith("cuda"):
        return host
    import torch  # here, since a machine that only drafts by lookup has none

    return f"{torch.cuda.get_device_name(device)} on {host}"


def processor() -> str:
    """The processor's name, as it gives it; else its kind."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
