"""The coefficients of the Runge-Kutta methods.

Each has a first stage at the old value and a last one at the new value, so a method without such a stage of its own,
as the classical one, gets it added: it costs nothing, being the first stage of the next step.
"""

from functools import cache
from math import sqrt

import numpy as np

from pdekit.ode.tableau import Tableau


def _lower(*rows: list[float], gamma: float = 0.0) -> np.ndarray:
    """Rows below the diagonal, from the second stage on."""
    a = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows, 1):
        a[i, : len(row)] = row
        a[i, i] += gamma
    return a


@cache
def euler() -> Tableau:
    """Euler's method; Heun's value of order 2 tells its error."""
    return Tableau("Euler", _lower([1.0]), np.array([0.5, 0.5]), order=1, embedded_order=2)


@cache
def rk4() -> Tableau:
    """The classical method of order 4.

    With K_5 = f(t + h, y1) the weights (1/6, 1/3, 1/3, 0, 1/6) have order 3, so that h/6 (K_4 - K_5) estimates the
    error.
    """
    a = _lower([1 / 2], [0, 1 / 2], [0, 0, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
    return Tableau("RK4", a, np.array([1 / 6, 1 / 3, 1 / 3, 0, 1 / 6]), order=4, embedded_order=3)


@cache
def dopri5() -> Tableau:
    """J. R. Dormand and P. J. Prince, A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math. 6 (1980) 19."""
    a = _lower(
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    )
    embedded = np.array([5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40])
    return Tableau("Dopri5", a, embedded, order=5, embedded_order=4)


@cache
def tsit5() -> Tableau:
    """The pair of order 5(4) by Tsitouras.

    Source: Ch. Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption,
    Comput. Math. Appl. 62 (2011) 770.
    """
    a = _lower(
        [0.161],
        [-0.008480655492356988544426874, 0.3354806554923569885444268742],
        [2.897153057105493432130432594, -6.359448489975074843148159912, 4.362295432869581411017727318],
        [5.325864828439257, -11.74888356406283, 7.495539342889836, -0.09249506636175525],
        [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.02826905039406838],
        [0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774],
    )
    embedded = [0.0946807557658394580747887625576, 0.00918356554034325309677636639366, 0.487770528424761570785570659963]
    embedded += [1.23429756693047898565510967388, -2.70771234998352545488110997506, 1.86662841817058703575371939957]
    return Tableau("Tsit5", a, np.array([*embedded, 1 / 66]), order=5, embedded_order=4)


@cache
def implicit_euler() -> Tableau:
    """Implicit Euler; the trapezoidal rule of order 2 tells its error."""
    return Tableau("ImplicitEuler", _lower([0.0], gamma=1.0), np.array([0.5, 0.5]), order=1, embedded_order=2)


@cache
def trbdf2() -> Tableau:
    """M. E. Hosea and L. F. Shampine, Analysis and implementation of TR-BDF2, Appl. Numer. Math. 20 (1996) 21."""
    gamma, w = 1 - sqrt(2) / 2, sqrt(2) / 4
    embedded = np.array([(1 - w) / 3, (3 * w + 1) / 3, gamma / 3])
    return Tableau("TRBDF2", _lower([gamma], [w, w], gamma=gamma), embedded, order=2, embedded_order=3)


@cache
def kvaerno3() -> Tableau:
    """A. Kvaerno, Singly diagonally implicit Runge-Kutta methods with an explicit first stage, BIT 44 (2004) 489."""
    # The root of g^3 - 3 g^2 + 3/2 g - 1/6 near .436: then the method is L-stable.
    g = 0.43586652150845899941601945119356
    third = [(-4 * g**2 + 6 * g - 1) / (4 * g), (1 - 2 * g) / (4 * g)]
    last = [(6 * g - 1) / (12 * g), -1 / ((24 * g - 12) * g), (-6 * g**2 + 6 * g - 1) / (6 * g - 3)]
    a = _lower([g], third, last, gamma=g)
    return Tableau("Kvaerno3", a, a[2], order=3, embedded_order=2)


@cache
def kvaerno5() -> Tableau:
    """A. Kvaerno, Singly diagonally implicit Runge-Kutta methods with an explicit first stage, BIT 44 (2004) 489."""
    a = _lower(
        [0.26],
        [0.13, 0.84033320996790809],
        [0.22371961478320505, 0.47675532319799699, -0.06470895363112615],
        [0.16648564323248321, 0.10450018841591720, 0.03631482272098715, -0.13090704451073998],
        [0.13855640231268224, 0, -0.04245337201752043, 0.02446657898003141, 0.61943039072480676],
        [0.13659751177640291, 0, -0.05496908796538376, -0.04118626728321046, 0.62993304899016403, 0.06962479448202728],
        gamma=0.26,
    )
    return Tableau("Kvaerno5", a, a[5], order=5, embedded_order=4)


__all__ = ["dopri5", "euler", "implicit_euler", "kvaerno3", "kvaerno5", "rk4", "trbdf2", "tsit5"]
