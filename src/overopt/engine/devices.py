"""GPUs by name with the numbers of their data sheets, for planning only."""

from __future__ import annotations

from dataclasses import dataclass

from overopt.errors import UserError


@dataclass(frozen=True)
class Device:
    """Dense peak rates (no sparsity), memory and its bandwidth."""

    fp32: float
    """Teraflops a second; with TF32 off, as torch has it by default."""
    bf16: float
    """Teraflops a second (fp16 where there is no bf16)."""
    memory: float
    """Gigabytes."""
    bandwidth: float
    """Gigabytes a second."""
    source: str

    def rate(self, bf16: bool) -> float:
        """FLOPs a second at peak."""
        return 1e12 * (self.bf16 if bf16 else self.fp32)


DEVICES: dict[str, Device] = {
    "h200": Device(67, 989, 141, 4800, "NVIDIA H200 data sheet (SXM)"),
    "h100": Device(67, 989, 80, 3350, "NVIDIA H100 data sheet (SXM)"),
    "a100": Device(19.5, 312, 80, 2039, "NVIDIA A100 data sheet (SXM, 80 GB)"),
    "l40s": Device(91.6, 362, 48, 864, "NVIDIA L40S data sheet"),
    "a10": Device(31.2, 125, 24, 600, "NVIDIA A10 data sheet"),
    "l4": Device(30.3, 121, 24, 300, "NVIDIA L4 data sheet"),
    "rtx4090": Device(82.6, 165.2, 24, 1008, "NVIDIA Ada architecture white paper"),
    "t4": Device(8.1, 65, 16, 320, "NVIDIA T4 data sheet (bf16 column: fp16)"),
}


def device_named(name: str) -> Device:
    if name.lower() not in DEVICES:
        raise UserError(f"--device {name}: unknown; known are {', '.join(DEVICES)}")
    return DEVICES[name.lower()]
