"""Named models with several states."""

from pdekit.symbolic.model import SymbolicSDE

_POSITIVE = (0, None)
_POSITIVE_HALVES = [(0, None), (0, None)]


def kramers() -> SymbolicSDE:
    """A particle with inertia in a double well, dx = v dt, dv = (-gamma v + a x - b x^3) dt + sqrt(2 gamma T) dW.

    The noise acts on the velocity alone. Stationary law: exp(-(v^2/2 - a x^2/2 + b x^4/4) / T).

    Source: Kramers (1940), Physica 7.
    """
    return SymbolicSDE(
        state=["x", "v"],
        drift=["v", "-gamma*v + a*x - b*x**3"],
        diffusion=["0", "sqrt(2*gamma*T)"],
        params={"gamma": _POSITIVE, "T": _POSITIVE, "a": _POSITIVE, "b": _POSITIVE},
        boundary="The energy confines the particle: infinity is not reached.",
        name="Kramers",
        description="Underdamped motion in two wells at a temperature.",
        closed_forms={
            "unnormalized_stationary_density": "exp(-(v**2/2 - a*x**2/2 + b*x**4/4)/T)",
            "stationary_mean": "0",
        },
        defaults={"gamma": 0.5, "T": 0.2, "a": 1.0, "b": 1.0},
    )


def damped_oscillator() -> SymbolicSDE:
    """A harmonic oscillator in a heat bath, dx = v dt, dv = (-gamma v - omega^2 x) dt + sqrt(2 gamma T) dW.

    Stationary law: normal and independent, with variances T / omega^2 and T.

    Source: Chandrasekhar (1943), Rev. Mod. Phys. 15.
    """
    return SymbolicSDE(
        state=["x", "v"],
        drift=["v", "-gamma*v - omega**2*x"],
        diffusion=["0", "sqrt(2*gamma*T)"],
        params={"gamma": _POSITIVE, "omega": _POSITIVE, "T": _POSITIVE},
        boundary="The energy confines the particle: infinity is not reached.",
        name="Damped oscillator",
        description="Underdamped motion on a spring at a temperature.",
        closed_forms={"stationary_density": "omega*exp(-(v**2 + omega**2*x**2)/(2*T))/(2*pi*T)"},
        defaults={"gamma": 0.5, "omega": 1.0, "T": 0.2},
    )


def linear_2d() -> SymbolicSDE:
    """Two coupled linear states, dx = -A x dt + L dW, with L lower triangular.

    Stationary where the eigenvalues of A have positive real parts; out of equilibrium where A L L^T isn't symmetric.

    Source: Gardiner (2009), Stochastic Methods, section 4.4.6.
    """
    return SymbolicSDE(
        state=["x", "y"],
        drift=["-a11*x - a12*y", "-a21*x - a22*y"],
        diffusion=[["l11", "0"], ["l21", "l22"]],
        params={
            "a11": None,
            "a12": None,
            "a21": None,
            "a22": None,
            "l11": _POSITIVE,
            "l21": None,
            "l22": _POSITIVE,
        },
        boundary="Natural: infinity is not reached.",
        name="Linear, two states",
        description="Two-dimensional Ornstein-Uhlenbeck process with correlated noise.",
        defaults={"a11": 1.0, "a12": -0.5, "a21": 0.5, "a22": 1.0, "l11": 0.5, "l21": 0.1, "l22": 0.4},
    )


def hopf() -> SymbolicSDE:
    """The normal form of a Hopf bifurcation with noise.

    dx = (a x - omega y - r^2 x) dt + sigma dW1, dy = (omega x + a y - r^2 y) dt + sigma dW2, with r^2 = x^2 + y^2.
    Stationary law: exp((a r^2 - r^4/2) / sigma^2), whatever the rotation omega.
    """
    return SymbolicSDE(
        state=["x", "y"],
        drift=["a*x - omega*y - x*(x**2 + y**2)", "omega*x + a*y - y*(x**2 + y**2)"],
        diffusion=["sigma", "sigma"],
        params={"a": None, "omega": None, "sigma": _POSITIVE},
        boundary="Entrance at infinity: the cubic drift brings the process back in finite time.",
        name="Hopf",
        description="A noisy limit cycle at its onset.",
        closed_forms={
            "unnormalized_stationary_density": "exp((a*(x**2 + y**2) - (x**2 + y**2)**2/2)/sigma**2)",
            "stationary_mean": "0",
        },
        defaults={"a": 0.5, "omega": 2.0, "sigma": 0.3},
    )


def fitzhugh_nagumo() -> SymbolicSDE:
    """An excitable cell, dv = (v - v^3/3 - w + I) dt + sigma_v dW1, dw = epsilon (v + a - b w) dt + sigma_w dW2.

    Source: FitzHugh (1961), Biophys. J. 1; Nagumo, Arimoto and Yoshizawa (1962), Proc. IRE 50.
    """
    return SymbolicSDE(
        state=["v", "w"],
        drift=["v - v**3/3 - w + I", "epsilon*(v + a - b*w)"],
        diffusion=["sigma_v", "sigma_w"],
        params={
            "I": None,
            "epsilon": _POSITIVE,
            "a": None,
            "b": _POSITIVE,
            "sigma_v": _POSITIVE,
            "sigma_w": _POSITIVE,
        },
        boundary="Infinity is not reached.",
        name="FitzHugh-Nagumo",
        description="A fast voltage and a slow recovery with noise on both.",
        defaults={"I": 0.5, "epsilon": 0.08, "a": 0.7, "b": 0.8, "sigma_v": 0.1, "sigma_w": 0.05},
    )


def van_der_pol() -> SymbolicSDE:
    """A self-sustained oscillator, dx = v dt, dv = (mu (1 - x^2) v - x) dt + sigma dW."""
    return SymbolicSDE(
        state=["x", "v"],
        drift=["v", "mu*(1 - x**2)*v - x"],
        diffusion=["0", "sigma"],
        params={"mu": _POSITIVE, "sigma": _POSITIVE},
        boundary="Infinity is not reached.",
        name="Van der Pol",
        description="A relaxation oscillator with noise on the velocity.",
        defaults={"mu": 1.0, "sigma": 0.3},
    )


def lotka_volterra() -> SymbolicSDE:
    """Prey and predators, dx = x (a - b y) dt + sigma_x x dW1, dy = y (c x - d) dt + sigma_y y dW2, on x, y > 0."""
    return SymbolicSDE(
        state=["x", "y"],
        drift=["x*(a - b*y)", "y*(c*x - d)"],
        diffusion=["sigma_x*x", "sigma_y*y"],
        params=dict.fromkeys(("a", "b", "c", "d", "sigma_x", "sigma_y"), _POSITIVE),
        domain=_POSITIVE_HALVES,
        boundary="0 is not reached in finite time by either species.",
        name="Lotka-Volterra",
        description="Prey and predators with proportional noise.",
        defaults={"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "sigma_x": 0.1, "sigma_y": 0.1},
    )


def heston() -> SymbolicSDE:
    """A log price with a random variance, dy = (mu - v/2) dt + sqrt(v) dW1, dv = kappa (theta - v) dt + xi sqrt(v) dZ.

    Z = rho W1 + sqrt(1 - rho^2) W2, so that price and variance are correlated. The variance is a CIR process.

    Source: Heston (1993), Rev. Financ. Stud. 6.
    """
    return SymbolicSDE(
        state=["y", "v"],
        drift=["mu - v/2", "kappa*(theta - v)"],
        diffusion=[["sqrt(v)", "0"], ["xi*rho*sqrt(v)", "xi*sqrt(1 - rho**2)*sqrt(v)"]],
        params={"mu": None, "kappa": _POSITIVE, "theta": _POSITIVE, "xi": _POSITIVE, "rho": (-1, 1)},
        domain=[None, (0, None)],
        boundary="The variance never reaches 0 if 2 kappa theta >= xi^2; otherwise it does and reflects at once.",
        name="Heston",
        description="A log price whose variance is random and correlated with it.",
        defaults={"mu": 0.05, "kappa": 2.0, "theta": 0.04, "xi": 0.3, "rho": -0.6},
    )


def lorenz63() -> SymbolicSDE:
    """Lorenz's convection model with additive noise.

    dx = s (y - x) dt + eta dW1, dy = (x (rho - z) - y) dt + eta dW2, dz = (x y - beta z) dt + eta dW3.

    Source: Lorenz (1963), J. Atmos. Sci. 20.
    """
    return SymbolicSDE(
        state=["x", "y", "z"],
        drift=["s*(y - x)", "x*(rho - z) - y", "x*y - beta*z"],
        diffusion=["eta", "eta", "eta"],
        params={"s": _POSITIVE, "rho": _POSITIVE, "beta": _POSITIVE, "eta": _POSITIVE},
        boundary="Infinity is not reached: the flow enters a bounded set.",
        name="Lorenz-63",
        description="Chaotic convection with additive noise.",
        defaults={"s": 10.0, "rho": 28.0, "beta": 8 / 3, "eta": 1.0},
    )
