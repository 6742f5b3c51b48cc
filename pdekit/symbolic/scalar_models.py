"""Named models with one state. Closed forms of transitions are written from the state `x` over the elapsed time `t`."""

from pdekit.symbolic.model import SymbolicSDE

_POSITIVE = (0, None)
_HALF_LINE = [(0, None)]
_REAL_LINE = "Natural at both ends: the process reaches neither in finite time."


def brownian_motion() -> SymbolicSDE:
    """Brownian motion with drift, dx = mu dt + sigma dW, on the real line. Gaussian, without a stationary state."""
    return SymbolicSDE(
        state="x",
        drift="mu",
        diffusion="sigma",
        params={"mu": None, "sigma": _POSITIVE},
        boundary=_REAL_LINE,
        name="Brownian motion",
        description="Brownian motion with a constant drift.",
        closed_forms={"conditional_mean": "x + mu*t", "conditional_variance": "sigma**2*t"},
        defaults={"mu": 0.1, "sigma": 0.5},
    )


def ornstein_uhlenbeck() -> SymbolicSDE:
    """The Ornstein-Uhlenbeck process, dx = theta (mu - x) dt + sigma dW, on the real line.

    It is also Vasicek's model of a short rate. Stationary law: normal with mean mu and variance sigma^2 / (2 theta).

    Source: Uhlenbeck and Ornstein (1930), Phys. Rev. 36; Vasicek (1977), J. Financ. Econ. 5.
    """
    return SymbolicSDE(
        state="x",
        drift="theta*(mu - x)",
        diffusion="sigma",
        params={"theta": _POSITIVE, "mu": None, "sigma": _POSITIVE},
        boundary=_REAL_LINE,
        name="Ornstein-Uhlenbeck",
        description="Linear return to a mean with constant noise (Vasicek).",
        closed_forms={
            "stationary_density": "exp(-theta*(x - mu)**2/sigma**2)*sqrt(theta/pi)/sigma",
            "stationary_mean": "mu",
            "stationary_variance": "sigma**2/(2*theta)",
            "conditional_mean": "mu + (x - mu)*exp(-theta*t)",
            "conditional_variance": "sigma**2*(1 - exp(-2*theta*t))/(2*theta)",
        },
        defaults={"theta": 1.0, "mu": 0.0, "sigma": 0.5},
    )


vasicek = ornstein_uhlenbeck


def cir() -> SymbolicSDE:
    """The Cox-Ingersoll-Ross process, dx = kappa (theta - x) dt + sigma sqrt(x) dW, on x > 0.

    Stationary law: gamma with shape 2 kappa theta / sigma^2 and rate 2 kappa / sigma^2. The transition is a
    noncentral chi^2.

    Source: Feller (1951), Ann. Math. 54; Cox, Ingersoll and Ross (1985), Econometrica 53.
    """
    return SymbolicSDE(
        state="x",
        drift="kappa*(theta - x)",
        diffusion="sigma*sqrt(x)",
        params={"kappa": _POSITIVE, "theta": _POSITIVE, "sigma": _POSITIVE},
        domain=_HALF_LINE,
        boundary=(
            "0 is an entrance, never reached, if 2 kappa theta >= sigma^2; "
            "otherwise it is reached and reflects at once."
        ),
        name="CIR",
        description="Linear return to a mean with square-root noise (Cox-Ingersoll-Ross).",
        closed_forms={
            "stationary_density": (
                "exp(2*kappa*theta/sigma**2*log(2*kappa/sigma**2) - loggamma(2*kappa*theta/sigma**2)"
                " + (2*kappa*theta/sigma**2 - 1)*log(x) - 2*kappa*x/sigma**2)"
            ),
            "stationary_mean": "theta",
            "stationary_variance": "theta*sigma**2/(2*kappa)",
            "conditional_mean": "theta + (x - theta)*exp(-kappa*t)",
            "conditional_variance": (
                "x*sigma**2*(exp(-kappa*t) - exp(-2*kappa*t))/kappa + theta*sigma**2*(1 - exp(-kappa*t))**2/(2*kappa)"
            ),
        },
        defaults={"kappa": 3.0, "theta": 0.3, "sigma": 0.2},
    )


def ckls() -> SymbolicSDE:
    """A short rate with power-law noise (CKLS), dr = (alpha + beta r) dt + sigma r^gamma dW, on r > 0.

    The mean is -alpha / beta where beta < 0. gamma = 0 is Vasicek, 1/2 CIR, 1 Brennan and Schwartz.

    Source: Chan, Karolyi, Longstaff and Sanders (1992), J. Finance 47.
    """
    return SymbolicSDE(
        state="r",
        drift="alpha + beta*r",
        diffusion="sigma*r**gamma",
        params={"alpha": None, "beta": None, "sigma": _POSITIVE, "gamma": (0, 3)},
        domain=_HALF_LINE,
        boundary=(
            "For alpha > 0, 0 is never reached if gamma > 1/2, or gamma = 1/2 and 2 alpha >= sigma^2; "
            "otherwise it is reached."
        ),
        name="CKLS",
        description="Linear drift with noise that grows as a power of the state.",
        defaults={"alpha": 0.03, "beta": -0.5, "sigma": 0.2, "gamma": 0.7},
    )


def geometric_brownian_motion() -> SymbolicSDE:
    """Geometric Brownian motion, dx = mu x dt + sigma x dW, on x > 0.

    The transition is lognormal; there is no stationary state.

    Source: Black and Scholes (1973), J. Polit. Econ. 81.
    """
    return SymbolicSDE(
        state="x",
        drift="mu*x",
        diffusion="sigma*x",
        params={"mu": None, "sigma": _POSITIVE},
        domain=_HALF_LINE,
        boundary="Natural at 0 and at infinity: the process reaches neither in finite time.",
        name="Geometric Brownian motion",
        description="Exponential growth with proportional noise.",
        closed_forms={
            "conditional_mean": "x*exp(mu*t)",
            "conditional_variance": "x**2*exp(2*mu*t)*(exp(sigma**2*t) - 1)",
        },
        defaults={"mu": 0.05, "sigma": 0.2},
    )


def double_well() -> SymbolicSDE:
    """Overdamped motion in the potential -a x^2/2 + b x^4/4, dx = (a x - b x^3) dt + sigma dW, on the real line.

    Two wells at +- sqrt(a/b), separated by a barrier of height a^2 / (4 b).
    """
    return SymbolicSDE(
        state="x",
        drift="a*x - b*x**3",
        diffusion="sigma",
        params={"a": _POSITIVE, "b": _POSITIVE, "sigma": _POSITIVE},
        boundary="Entrance at both ends: the cubic drift brings the process back from any distance in finite time.",
        name="Double well",
        description="Two equally deep wells with constant noise.",
        closed_forms={"unnormalized_stationary_density": "exp((a*x**2 - b*x**4/2)/sigma**2)", "stationary_mean": "0"},
        defaults={"a": 1.0, "b": 1.0, "sigma": 0.5},
    )


def bistable() -> SymbolicSDE:
    """A general cubic drift, dx = (a0 + a1 x + a2 x^2 - a3 x^3) dt + sigma dW, on the real line.

    Its two wells, where it has two, may differ in depth.

    Source: Livina, Kwasniok and Lenton (2010), Clim. Past 6, for climate records.
    """
    return SymbolicSDE(
        state="x",
        drift="a0 + a1*x + a2*x**2 - a3*x**3",
        diffusion="sigma",
        params={"a0": None, "a1": None, "a2": None, "a3": _POSITIVE, "sigma": _POSITIVE},
        boundary="Entrance at both ends: the cubic drift brings the process back from any distance in finite time.",
        name="Bistable",
        description="Cubic drift, one or two wells of any depth, with constant noise.",
        closed_forms={
            "unnormalized_stationary_density": "exp(2*(a0*x + a1*x**2/2 + a2*x**3/3 - a3*x**4/4)/sigma**2)",
        },
        defaults={"a0": 0.1, "a1": 1.0, "a2": 0.0, "a3": 1.0, "sigma": 0.5},
    )


def cubic_multiplicative() -> SymbolicSDE:
    """A cubic drift with noise that grows away from 0, dx = (a0 + a1 x + a2 x^2 - a3 x^3) dt + sqrt(s0 + s1 x^2) dW.

    The stationary density has power-law shoulders, and is integrable wherever a3 > 0.

    Source: Sura and Sardeshmukh (2008), J. Phys. Oceanogr. 38, for correlated additive and multiplicative noise.
    """
    tilt = (
        "-a3*x**2/(2*s1) + a2*x/s1 + (a1 + a3*s0/s1)*log(s0 + s1*x**2)/(2*s1)"
        " + (a0 - a2*s0/s1)*atan(x*sqrt(s1/s0))/sqrt(s0*s1)"
    )
    return SymbolicSDE(
        state="x",
        drift="a0 + a1*x + a2*x**2 - a3*x**3",
        diffusion="sqrt(s0 + s1*x**2)",
        params={"a0": None, "a1": None, "a2": None, "a3": _POSITIVE, "s0": _POSITIVE, "s1": _POSITIVE},
        boundary="Entrance at both ends: the cubic drift outweighs noise that grows linearly.",
        name="Cubic, multiplicative noise",
        description="Cubic drift with additive and multiplicative noise.",
        closed_forms={"unnormalized_stationary_density": f"exp(2*({tilt}))/(s0 + s1*x**2)"},
        defaults={"a0": 0.1, "a1": 1.0, "a2": 0.0, "a3": 1.0, "s0": 0.1, "s1": 0.2},
    )


def logistic() -> SymbolicSDE:
    """Logistic growth in a random environment, dx = r x (1 - x/K) dt + sigma x dW, on x > 0.

    Stationary law where 2 r > sigma^2: gamma with shape 2 r / sigma^2 - 1 and rate 2 r / (K sigma^2).

    Source: Dennis and Patil (1984), Math. Biosci. 68.
    """
    return SymbolicSDE(
        state="x",
        drift="r*x*(1 - x/K)",
        diffusion="sigma*x",
        params={"r": _POSITIVE, "K": _POSITIVE, "sigma": _POSITIVE},
        domain=_HALF_LINE,
        boundary="0 is never reached in finite time; it attracts, and the population dies out, if 2 r < sigma^2.",
        name="Logistic",
        description="Growth to a carrying capacity with proportional noise.",
        closed_forms={
            "stationary_density": (
                "exp((2*r/sigma**2 - 1)*log(2*r/(K*sigma**2)) - loggamma(2*r/sigma**2 - 1)"
                " + (2*r/sigma**2 - 2)*log(x) - 2*r*x/(K*sigma**2))"
            ),
            "stationary_mean": "K*(1 - sigma**2/(2*r))",
            "stationary_variance": "K**2*sigma**2/(2*r)*(1 - sigma**2/(2*r))",
        },
        defaults={"r": 1.0, "K": 1.0, "sigma": 0.3},
    )


def gompertz() -> SymbolicSDE:
    """Gompertz growth, dx = x (a - b log x) dt + sigma x dW, on x > 0; log x is an Ornstein-Uhlenbeck process.

    Stationary law: lognormal, where log x has mean (a - sigma^2/2)/b and variance sigma^2 / (2 b).

    Source: Ricciardi (1979), Biol. Cybern. 34.
    """
    log_mean = "((a - sigma**2/2)/b)"
    log_transition_mean = f"({log_mean} + (log(x) - {log_mean})*exp(-b*t))"
    log_transition_variance = "(sigma**2*(1 - exp(-2*b*t))/(2*b))"
    transition_mean = f"exp({log_transition_mean} + {log_transition_variance}/2)"
    return SymbolicSDE(
        state="x",
        drift="x*(a - b*log(x))",
        diffusion="sigma*x",
        params={"a": None, "b": _POSITIVE, "sigma": _POSITIVE},
        domain=_HALF_LINE,
        boundary="Natural at 0 and at infinity: the process reaches neither in finite time.",
        name="Gompertz",
        description="Growth that slows with the logarithm of the state, with proportional noise.",
        closed_forms={
            "stationary_density": f"exp(-b*(log(x) - {log_mean})**2/sigma**2)*sqrt(b/pi)/(sigma*x)",
            "stationary_mean": f"exp({log_mean} + sigma**2/(4*b))",
            "stationary_variance": f"exp(2*{log_mean} + sigma**2/(2*b))*(exp(sigma**2/(2*b)) - 1)",
            "conditional_mean": transition_mean,
            "conditional_variance": f"{transition_mean}**2*(exp({log_transition_variance}) - 1)",
        },
        defaults={"a": 0.5, "b": 1.0, "sigma": 0.3},
    )


def jacobi() -> SymbolicSDE:
    """The Jacobi (Wright-Fisher) process, dx = kappa (mu - x) dt + sigma sqrt(x (1 - x)) dW, on 0 < x < 1.

    Stationary law: beta with exponents 2 kappa mu / sigma^2 and 2 kappa (1 - mu) / sigma^2.

    Source: Karlin and Taylor (1981), A Second Course in Stochastic Processes, chapter 15.
    """
    a, b = "(2*kappa*mu/sigma**2)", "(2*kappa*(1 - mu)/sigma**2)"
    return SymbolicSDE(
        state="x",
        drift="kappa*(mu - x)",
        diffusion="sigma*sqrt(x*(1 - x))",
        params={"kappa": _POSITIVE, "mu": (0, 1), "sigma": _POSITIVE},
        domain=[(0, 1)],
        boundary=(
            "0 is never reached if 2 kappa mu >= sigma^2, nor 1 if 2 kappa (1 - mu) >= sigma^2; "
            "otherwise they are reached and reflect at once."
        ),
        name="Jacobi",
        description="Linear return to a mean between two bounds (Wright-Fisher).",
        closed_forms={
            "stationary_density": (
                f"exp(loggamma(2*kappa/sigma**2) - loggamma({a}) - loggamma({b})"
                f" + ({a} - 1)*log(x) + ({b} - 1)*log(1 - x))"
            ),
            "stationary_mean": "mu",
            "stationary_variance": "mu*(1 - mu)/(1 + 2*kappa/sigma**2)",
            "conditional_mean": "mu + (x - mu)*exp(-kappa*t)",
        },
        defaults={"kappa": 1.0, "mu": 0.4, "sigma": 0.5},
    )


def radial_ornstein_uhlenbeck() -> SymbolicSDE:
    """The distance of an Ornstein-Uhlenbeck process from the origin, dx = (a/x - b x) dt + sigma dW, on x > 0.

    In n dimensions a = (n - 1) sigma^2 / 2. Stationary law: x^2 is gamma with shape a/sigma^2 + 1/2 and rate b/sigma^2.

    Source: Borodin and Salminen (2002), Handbook of Brownian Motion, appendix 1.
    """
    nu = "(a/sigma**2 + 1/2)"
    return SymbolicSDE(
        state="x",
        drift="a/x - b*x",
        diffusion="sigma",
        params={"a": _POSITIVE, "b": _POSITIVE, "sigma": _POSITIVE},
        domain=_HALF_LINE,
        boundary="0 is an entrance, never reached, if 2 a >= sigma^2; otherwise it is reached and reflects at once.",
        name="Radial Ornstein-Uhlenbeck",
        description="Distance from the origin of a linear process in the plane or in space.",
        closed_forms={
            "stationary_density": (
                f"2*exp({nu}*log(b/sigma**2) - loggamma({nu}) + (2*{nu} - 1)*log(x) - b*x**2/sigma**2)"
            ),
            "stationary_mean": f"sigma/sqrt(b)*exp(loggamma({nu} + 1/2) - loggamma({nu}))",
            "stationary_variance": (f"sigma**2/b*({nu} - exp(2*loggamma({nu} + 1/2) - 2*loggamma({nu})))"),
        },
        defaults={"a": 0.5, "b": 1.0, "sigma": 0.5},
    )


def student() -> SymbolicSDE:
    """Linear return with noise that grows away from the mean, dx = theta (mu - x) dt + sqrt(s0 + s1 (x - mu)^2) dW.

    Stationary law: Student's t with 1 + 2 theta / s1 degrees of freedom: heavy tails from a linear drift.

    Source: Forman and Sorensen (2008), Scand. J. Stat. 35.
    """
    half = "(theta/s1 + 1)"  # (degrees of freedom + 1) / 2
    return SymbolicSDE(
        state="x",
        drift="theta*(mu - x)",
        diffusion="sqrt(s0 + s1*(x - mu)**2)",
        params={"theta": _POSITIVE, "mu": None, "s0": _POSITIVE, "s1": _POSITIVE},
        boundary=_REAL_LINE,
        name="Student diffusion",
        description="Linear return to a mean with heavy tails.",
        closed_forms={
            "stationary_density": (
                f"exp(loggamma({half}) - loggamma({half} - 1/2) + log(s1/(pi*s0))/2"
                f" - {half}*log(1 + s1*(x - mu)**2/s0))"
            ),
            "stationary_mean": "mu",
            "stationary_variance": "s0/(2*theta - s1)",
            "conditional_mean": "mu + (x - mu)*exp(-theta*t)",
        },
        defaults={"theta": 1.0, "mu": 0.0, "s0": 0.2, "s1": 0.3},
    )


def sis() -> SymbolicSDE:
    """The share of infected in an epidemic, dx = (beta x (1 - x) - gamma x) dt + sigma x (1 - x) dW, on 0 < x < 1.

    The contact rate beta fluctuates, with intensity sigma.

    Source: Gray, Greenhalgh, Hu, Mao and Pan (2011), SIAM J. Appl. Math. 71.
    """
    return SymbolicSDE(
        state="x",
        drift="beta*x*(1 - x) - gamma*x",
        diffusion="sigma*x*(1 - x)",
        params={"beta": _POSITIVE, "gamma": _POSITIVE, "sigma": _POSITIVE},
        domain=[(0, 1)],
        boundary=(
            "Neither end is reached in finite time; 0 attracts, and the epidemic dies out, if beta - sigma^2/2 < gamma."
        ),
        name="SIS epidemic",
        description="Share of infected with a random contact rate.",
        closed_forms={
            "unnormalized_stationary_density": (
                "exp(2*((beta - gamma)*log(x/(1 - x)) - gamma/(1 - x))/sigma**2 - 2*log(x*(1 - x)))"
            ),
        },
        defaults={"beta": 2.0, "gamma": 1.0, "sigma": 0.5},
    )


def stochastic_pitchfork() -> SymbolicSDE:
    """A pitchfork with a random control parameter, dx = (a x - x^3) dt + sigma x o dW (Stratonovich), on x > 0.

    Stationary law: x^2 is gamma with shape a / sigma^2 and rate 1 / sigma^2.

    Source: Horsthemke and Lefever (1984), Noise-Induced Transitions, chapter 6.
    """
    return SymbolicSDE(
        state="x",
        drift="a*x - x**3",
        diffusion="sigma*x",
        params={"a": _POSITIVE, "sigma": _POSITIVE},
        convention="stratonovich",
        domain=_HALF_LINE,
        boundary="0 is natural, never reached in finite time; infinity is an entrance.",
        name="Stochastic pitchfork",
        description="Cubic saturation of growth at a random rate, in the Stratonovich convention.",
        closed_forms={
            "stationary_density": (
                "2*exp((2*a/sigma**2 - 1)*log(x) - x**2/sigma**2 - 2*a/sigma**2*log(sigma) - loggamma(a/sigma**2))"
            ),
            "stationary_mean": "sigma*exp(loggamma(a/sigma**2 + 1/2) - loggamma(a/sigma**2))",
        },
        defaults={"a": 1.0, "sigma": 0.5},
    )


def stochastic_resonance() -> SymbolicSDE:
    """A double well under a periodic force, dx = (a x - b x^3 + A cos(omega t)) dt + sigma dW, on the real line.

    Source: Gammaitoni, Hänggi, Jung and Marchesoni (1998), Rev. Mod. Phys. 70.
    """
    return SymbolicSDE(
        state="x",
        drift="a*x - b*x**3 + A*cos(omega*t)",
        diffusion="sigma",
        params={"a": _POSITIVE, "b": _POSITIVE, "A": None, "omega": _POSITIVE, "sigma": _POSITIVE},
        boundary="Entrance at both ends: the cubic drift brings the process back from any distance in finite time.",
        name="Stochastic resonance",
        description="Two wells under a periodic force; the drift depends on time.",
        defaults={"a": 1.0, "b": 1.0, "A": 0.3, "omega": 0.5, "sigma": 0.5},
    )
