"""The channel mixer: a gated linear unit with SiLU, without biases (Shazeer 2020, arXiv 2002.05202)."""

from torch import Tensor, nn
from torch.nn import functional as F

from manticore_kit.models import fused


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)), with gate and up in one matrix."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.inner = inner
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, length, width) to the same shape."""
        gate_up = self.gate_up(hidden_states)
        if fused.fits(gate_up, self.inner):
            gated = fused.swiglu(gate_up.view(-1, 2, self.inner))
            return self.down(gated.view(*gate_up.shape[:-1], self.inner))
        gate, up = gate_up.chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
