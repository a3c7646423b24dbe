"""Linear layers over weights laid out once for the processor's matrix kernels, instead of anew at every call.

On a CPU with bfloat16 kernels a forward of a few rows then reads each weight once, at about twice the speed, and its bfloat16 results are
bitwise those of the plain layer. It knows nothing of what model the layers belong to.
"""

from __future__ import annotations

import torch
from torch import nn

ROWS_EXPECTED = 8  # the layout is chosen for this many rows at a time; any number is right


class PackedLinear(nn.Module):
    """`y = x Wᵀ + b` with W in the kernel's own layout. Inference only; the plain weight is not kept."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS_EXPECTED)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [..., in] to [..., out]."""
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return result


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this machine has the kernels for weights of that type."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pack_linears(model: nn.Module) -> int:
    """Replace every plain `nn.Linear` under `model`, one at a time so that memory holds one layer twice at most. Returns how many."""
    replaced = 0
    parents = [module for module in model.modules() if type(module) is not nn.Linear]  # a list of the layers would keep all of them
    for parent in parents:
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and can_pack(child.weight.dtype, child.weight.device):
                setattr(parent, name, PackedLinear(child))
                replaced += 1
    return replaced
