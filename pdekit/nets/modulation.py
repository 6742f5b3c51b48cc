"""How time and context enter a network: added (which is what concatenation does) or by FiLM from a hypernetwork."""

from typing import Literal, get_args

from torch import Tensor, nn

from pdekit.errors import ModelError
from pdekit.nets.activation import gain, initialise

ModulationKind = Literal["film", "concatenate"]


class Modulation(nn.Module):
    """Changes features a by a conditioning vector z = (t, context) that does not depend on the state.

        concatenate:  a + U z                       (concatenating z to the input of a linear layer)
        film:         a * (1 + gamma(z)) + beta(z)  (gamma, beta from a small hypernetwork)

    Args:
        features: The number of features.
        conditioning_dim: The length of z; 0 makes the module the identity.
        kind: `"film"` or `"concatenate"`.

    Shapes: a is (*batch, features) or (*batch, d, features), z is (*batch, conditioning_dim).

    Source: E. Perez et al., FiLM: visual reasoning with a general conditioning layer, AAAI 2018.
    """

    def __init__(self, features: int, conditioning_dim: int, kind: ModulationKind = "film") -> None:
        super().__init__()
        if kind not in get_args(ModulationKind):
            raise ModelError(f"modulation must be one of {get_args(ModulationKind)}, got {kind!r}.")
        self.conditioning_dim, self.kind = conditioning_dim, kind
        if conditioning_dim == 0:
            self.network: nn.Module = nn.Identity()
        elif kind == "concatenate":
            self.network = initialise(nn.Linear(conditioning_dim, features))
        else:
            hidden = max(16, 2 * conditioning_dim)
            self.network = nn.Sequential(
                initialise(nn.Linear(conditioning_dim, hidden)),
                nn.Tanh(),
                # Scales start within about 30 % of 1, so that depth does not multiply them up.
                initialise(nn.Linear(hidden, 2 * features), 0.3 * gain("tanh")),
            )

    def forward(self, a: Tensor, z: Tensor | None) -> Tensor:
        """The features, changed by z."""
        if self.conditioning_dim == 0:
            return a
        if z is None:
            raise ModelError(f"This network needs a conditioning vector of {self.conditioning_dim} entries, got none.")
        m = self.network(z)
        if a.ndim == m.ndim + 1:
            m = m.unsqueeze(-2)
        if self.kind == "concatenate":
            return a + m
        scale, shift = m.chunk(2, dim=-1)
        return a * (1 + scale) + shift
