"""An electric circuit: the ring modulator, which mixes a signal of 1 kHz with one of 10 kHz."""

import math

import torch
from torch import Tensor, nn

from verification.stiff.problem import Published, StiffProblem


class RingModulator(nn.Module):
    """Seven voltages u and eight currents i of a circuit that is linear but for a ring of four diodes.

    A diode under the voltage U conducts q(U) = gamma (exp(delta U) - 1). With the signal s = sin(2000 pi t) / 2 and the
    carrier c = 2 sin(20000 pi t), and x = (u, i), x' = A x + B q(P x + p c) + e s. The letters below are those of the
    circuit: capacities C, inductances L, resistances R.
    """

    C, Cs, Cp = 1.6e-8, 2e-12, 1e-8
    Lh, Ls1, Ls2, Ls3 = 4.45, 2e-3, 5e-4, 5e-4
    R, Rp, Ri, Rc, Rg1, Rg2, Rg3 = 25e3, 50.0, 50.0, 600.0, 36.3, 17.3, 17.3
    gamma, delta = 40.67286402e-9, 17.7493332
    linear: Tensor
    injection: Tensor
    ring: Tensor
    polarity: Tensor
    inlet: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Rows of these matrices are what each unit vector causes: (15, 15), (4, 15) and (15, 4).
        x, q = torch.eye(15, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
        self.register_buffer("linear", self._linear(x))
        self.register_buffer("injection", self._injection(q))
        self.register_buffer("ring", self._ring(x))
        self.register_buffer("polarity", torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
        self.register_buffer("inlet", x[13] / self.Ls1)

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rates of change, (*batch, 15)."""
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        signal, carrier = 0.5 * (2e3 * math.pi * t).sin(), 2.0 * (2e4 * math.pi * t).sin()
        voltage = x @ self.ring.to(x) + carrier * self.polarity.to(x)
        current = self.gamma * (self.delta * voltage).expm1()
        return x @ self.linear.to(x) + current @ self.injection.to(x) + signal * self.inlet.to(x)

    def _linear(self, x: Tensor) -> Tensor:
        u1, u2, u3, u4, u5, u6, u7, i1, i2, i3, i4, i5, i6, i7, i8 = x.unbind(-1)
        voltages = [
            (i1 - 0.5 * i3 + 0.5 * i4 + i7 - u1 / self.R) / self.C,
            (i2 - 0.5 * i5 + 0.5 * i6 + i8 - u2 / self.R) / self.C,
            i3 / self.Cs,
            -i4 / self.Cs,
            i5 / self.Cs,
            -i6 / self.Cs,
            -u7 / self.Rp / self.Cp,
        ]
        currents = [
            -u1 / self.Lh,
            -u2 / self.Lh,
            (0.5 * u1 - u3 - self.Rg2 * i3) / self.Ls2,
            (-0.5 * u1 + u4 - self.Rg3 * i4) / self.Ls3,
            (0.5 * u2 - u5 - self.Rg2 * i5) / self.Ls2,
            (-0.5 * u2 + u6 - self.Rg3 * i6) / self.Ls3,
            (-u1 - (self.Ri + self.Rg1) * i7) / self.Ls1,
            (-u2 - (self.Rc + self.Rg1) * i8) / self.Ls1,
        ]
        return torch.stack(voltages + currents, -1)

    def _injection(self, q: Tensor) -> Tensor:
        q1, q2, q3, q4 = q.unbind(-1)
        none, ring = torch.zeros_like(q1), [(q4 - q1), (q2 - q3), (q1 - q3), (q4 - q2)]
        return torch.stack([none, none, *(z / self.Cs for z in ring), (q1 + q2 - q3 - q4) / self.Cp, *[none] * 8], -1)

    def _ring(self, x: Tensor) -> Tensor:
        u3, u4, u5, u6, u7 = x[..., 2:7].unbind(-1)
        return torch.stack([u3 - u5 - u7, u6 - u4 - u7, u4 + u5 + u7, u7 - u3 - u6], -1)


def ring_modulator() -> StiffProblem:
    """Stiff and oscillating at 5 MHz: most of its work is the ringing of C_s with L_s."""
    values = (
        -0.2339057358486745e-1,
        -0.7367485485540825e-2,
        0.2582956709291169,
        -0.4064465721283450,
        -0.4039455665149794,
        0.2607966765422943,
        0.1106761861269975,
        0.2939904342435596e-6,
        -0.2840029933642329e-7,
        0.7267198267264553e-3,
        0.7929487196960840e-3,
        -0.7255283495698965e-3,
        -0.7941401968526521e-3,
        0.7088495416976114e-4,
        0.2390059075236570e-4,
    )
    return StiffProblem(
        name="ring_modulator",
        field=RingModulator(),
        y0=torch.zeros(15, dtype=torch.float64),
        start=0.0,
        end=1e-3,
        atol_factor=1e-3,  # voltages are about 0.1, currents about 1e-3
        published=Published(1e-3, tuple(range(15)), values),
        note="the parasitic capacity C_s = 2e-12 makes it stiff and fast at once",
        source=(
            "E. H. Horneber, Dissertation, University of Kaiserslautern, 1976; F. Mazzia and C. Magherini, "
            "Test Set for Initial Value Problem Solvers, release 2.4, University of Bari, 2008"
        ),
    )


__all__ = ["RingModulator", "ring_modulator"]
