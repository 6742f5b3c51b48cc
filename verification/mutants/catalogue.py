"""The mutants: one-line faults that leave the code running, by area."""

from verification.mutants.integrators import INTEGRATORS
from verification.mutants.planting import Mutant, in_area
from verification.mutants.sensitivities import SENSITIVITIES, SOLVERS

OPERATORS = in_area(
    "operators",
    (
        "detached-conditioner",
        "operators.hollow",
        "h = call.on(call.function.condition).at(call.x)  #",
        "h = call.on(call.function.condition).at(call.x).detach()  #",
        "Gradients of a hollow function's derivatives don't reach the conditioner.",
    ),
    (
        "detached-divergence",
        "operators.first_order",
        "exact_result(jet.derivatives[0], jet.output",
        "exact_result(jet.derivatives[0].detach(), jet.output",
        "The divergence has no gradient, so that no loss on it trains anything.",
    ),
    (
        "unsummed-diagonal",
        "operators.diagonal",
        "return values.sum(-1) if trace else values",
        "return values",
        "The divergence is the Jacobian's diagonal, not summed.",
    ),
    (
        "shifted-diagonal",
        "operators.diagonal",
        "values = full.diagonal(dim1=0, dim2=-1)",
        "values = full.roll(1, 0).diagonal(dim1=0, dim2=-1)",
        "The wrong diagonal of the Jacobian is read: direction r - 1 against entry r.",
    ),
    (
        "chunk-offset-lost",
        "operators.diagonal",
        "full = jet.full(k)[..., start : start + count]",
        "full = jet.full(k)[..., :count]",
        "Every chunk of directions reads the diagonal of the first one.",
    ),
    (
        "direction-offset-lost",
        "operators.propagation.coefficient",
        "eye = functional.pad(eye, (self.start, like.shape[-1] - self.start - self.count))",
        "eye = functional.pad(eye, (0, like.shape[-1] - self.count))",
        "Every chunk of directions moves the first dimensions.",
    ),
    (
        "hessian-summed",
        "operators.propagation.series",
        "second = _plus(second, tower[2] * contract(run.metrics[jet.system], c[0], c[0]))",
        "second = _plus(second, tower[2] * c[0].sum(0).square())",
        "All entries of the Hessian are summed, not its trace.",
    ),
    (
        "second-order-term-missing",
        "operators.propagation.series",
        "        second = _times(tower[1], c[1])\n",
        "        second = None\n",
        "Composition forgets phi' u'': the chain rule's second-order term.",
    ),
    (
        "highest-power-missing",
        "operators.propagation.series",
        "for m in range(2, run.order + 1):",
        "for m in range(2, run.order):",
        "Faa di Bruno's sum ends one power early.",
    ),
    (
        "cross-term-missing",
        "operators.propagation.series",
        "for i in range(n + 1):\n            left, right",
        "for i in (0, n):\n            left, right",
        "Leibniz' rule without its cross terms.",
    ),
    (
        "factorial-forgotten",
        "operators.diagonal",
        "math.factorial(k) * value",
        "k * value",
        "k in place of k!: right for second derivatives, wrong beyond.",
    ),
    (
        "factorial-forgotten-hollow",
        "operators.hollow",
        "math.factorial(k) * c",
        "c",
        "Taylor coefficients given as derivatives on the hollow route.",
    ),
    (
        "tanh-coefficients",
        "operators.propagation.elementwise",
        "tower[i], tower[k - i], value=2 * factor)",
        "tower[i], tower[k - i], value=factor)",
        "The mixed products of Riccati's recurrence count once: tanh is wrong from its second derivative on.",
    ),
    (
        "silu-coefficients",
        "operators.propagation.activations",
        "x * tower[k] + tower[k - 1]",
        "x * tower[k] + k * tower[k - 1]",
        "x phi(x) by the rule for derivatives, applied to Taylor coefficients.",
    ),
    (
        "compression-transposed",
        "operators.propagation.compression",
        "factor.t().contiguous().reshape",
        "factor.contiguous().reshape",
        "Directions from the rows of the Cholesky factor: L^T L for the Gram matrix L L^T.",
    ),
    (
        "compression-metric",
        "operators.propagation.compression",
        "gram = directions @ metric @ directions.transpose(-1, -2)",
        "gram = directions @ directions.transpose(-1, -2)",
        "A compressed layer forgets the matrix C of tr(C hess u).",
    ),
    (
        "ito-correction-missing",
        "operators.convention",
        "return sde.drift(t, x) + shift",
        "return sde.drift(t, x)",
        "The Ito drift of a Stratonovich equation without the noise-induced correction.",
    ),
    (
        "ito-correction-doubled",
        "operators.convention",
        "return noise, 0.5 * slopes",
        "return noise, slopes",
        "The noise-induced correction of general noise without its 1/2.",
    ),
    (
        "stratonovich-read-as-ito",
        "operators.coefficients",
        'stratonovich = sde.sde_type == "stratonovich"',
        "stratonovich = False",
        "The equation's operators take a Stratonovich drift for Ito's.",
    ),
    (
        "g-for-g-squared",
        "operators.coefficients",
        "return 0.5 * self.noise * self.noise * vector",
        "return 0.5 * self.noise * vector",
        "g in place of g^2.",
    ),
    (
        "diffusion-tensor-halved",
        "operators.coefficients",
        "half = 0.5**0.5 * self.noise",
        "half = 0.5 * self.noise",
        "The diffusion tensor G G^T / 4: the factor 1/2 applied to each G.",
    ),
    (
        "current-sign",
        "operators.equations",
        "value.unsqueeze(-1) - c.diffused(slope)",
        "value.unsqueeze(-1) + c.diffused(slope)",
        "The diffusive current flows up the gradient.",
    ),
    (
        "time-derivative-missing",
        "operators.equations",
        "OperatorResult(rate - result.value,",
        "OperatorResult(-result.value,",
        "The residual of a stationary equation.",
    ),
    (
        "score-square-missing",
        "operators.equations",
        "result.value + result.gradient_square() + c.source",
        "result.value + c.source",
        "The Fokker-Planck operator of log p without its quadratic term.",
    ),
    (
        "noise-redrawn",
        "operators.methods",
        "return replace(self, noise=self.draw(like)[0])",
        "return replace(self, samples=self.samples)",
        "Hutchinson's noise is drawn anew at each call of a solve that asked for fixed directions.",
    ),
)

NETS = in_area(
    "nets",
    (
        "batch-mean",
        "nets.plain",
        "return self._shaped(self.layers[-1](a))",
        "return self._shaped(self.layers[-1](a - a.mean(0)))",
        "A mean over the batch leaks between rows.",
    ),
    (
        "mask-off-by-one",
        "nets.conditioners.masked",
        "entries = torch.arange(self.length) + 1",
        "entries = torch.arange(self.length)",
        "The mask lets a unit see the entry at its own position.",
    ),
    (
        "mask-read-out-off-by-one",
        "nets.conditioners.masked",
        "behind = source.unsqueeze(-1) <= torch.arange(length).flip(0)",
        "behind = source.unsqueeze(-1) <= 1 + torch.arange(length).flip(0)",
        "The read-out of the reversed stream includes the units that have seen x_i.",
    ),
    (
        "own-block-seen",
        "nets.conditioners.masked",
        "torch.ones(blocks, blocks).tril(-1)",
        "torch.ones(blocks, blocks).tril()",
        "The summary of earlier blocks includes the block itself.",
    ),
    (
        "inclusive-scan",
        "nets.conditioners.recurrence",
        "position - position.unsqueeze(1) - 1]",
        "position - position.unsqueeze(1)]",
        "The scan is inclusive: not shifted by one.",
    ),
    (
        "flipped-scan",
        "nets.conditioners.two_stream",
        "self.right(x.flip(-1), z).flip(-2)",
        "self.right(x.flip(-1), z)",
        "The reversed stream is not turned back.",
    ),
    (
        "one-way-scan",
        "nets.conditioners.recurrence",
        "(backward[:, 1:].mT, ",
        "(backward[:, 1:], ",
        "The backward scan runs forward: hollow still, but nothing sees what comes behind it.",
    ),
    (
        "inclusive-pool",
        "nets.conditioners.pooling",
        "inner = join(before[..., :-2, :], after[..., 2:, :])",
        "inner = join(before[..., :-2, :], after[..., 1:-1, :])",
        "The pool of the others includes the element itself.",
    ),
    (
        "attention-to-itself",
        "nets.conditioners.attention",
        "torch.eye(dim, dtype=torch.bool)], dim=1)",
        "torch.zeros(dim, dim, dtype=torch.bool)], dim=1)",
        "Attention without the mask on its diagonal.",
    ),
    (
        "convolution-centre",
        "nets.conditioners.convolution",
        "zip(window, inside, strict=True) if keep and any(offset))",
        "zip(window, inside, strict=True) if keep)",
        "The window includes its centre.",
    ),
    (
        "transformer-normalised",
        "nets.transformer",
        "a = self.activation(self.gates[0](z))",
        "a = self.activation(self.gates[0](z - z.mean(-2, keepdim=True)))",
        "The transformer is centred over dimensions, so that it no longer acts on each by itself.",
    ),
    (
        "features-cut-off",
        "nets.hollow",
        "return self.modulation(h, z)",
        "return self.modulation(h.detach(), z)",
        "A detached conditioner: no gradient reaches it.",
    ),
)

SYMBOLIC = in_area(
    "symbolic",
    (
        "symbolic-correction-doubled",
        "symbolic.convention",
        "sympy.Rational(1, 2) * diffusion[j, k]",
        "diffusion[j, k]",
        "The noise-induced correction of formulas without its 1/2.",
    ),
    (
        "symbolic-correction-transposed",
        "symbolic.convention",
        "sympy.diff(diffusion[i, k], state[j])",
        "sympy.diff(diffusion[j, k], state[i])",
        "Indices of the correction mixed up: right in one dimension.",
    ),
    (
        "symbolic-correction-sign",
        "symbolic.model",
        'else self._converted("ito", 1)',
        'else self._converted("ito", -1)',
        "The correction is subtracted on the way to Ito.",
    ),
    (
        "convention-dropped",
        "symbolic.model",
        "sde_type=self.convention,",
        'sde_type="ito",',
        "A Stratonovich model becomes an Ito SDE when its parameters are fixed.",
    ),
    (
        "register-freed-early",
        "symbolic.lowering",
        "last_use[source] = max(last_use.get(source, -1), position)",
        "last_use.setdefault(source, position)",
        "A register is reused after the first use of its value, not the last.",
    ),
    (
        "negative-group",
        "symbolic.lowering",
        "            negative = not plus\n",
        "            negative = False\n",
        "A sum of negative terms alone loses its sign.",
    ),
    (
        "half-power-dropped",
        "symbolic.lowering",
        "factors += [self.emit(torch.sqrt, self.lower(base))] if half else []",
        "factors += [self.emit(torch.sqrt, self.lower(base))] if half and not whole else []",
        "x^(3/2) becomes x.",
    ),
    (
        "stationary-variance",
        "symbolic.scalar_models",
        "exp(-theta*(x - mu)**2/sigma**2)*sqrt(theta/pi)/sigma",
        "exp(-theta*(x - mu)**2/(2*sigma**2))*sqrt(theta/(2*pi))/sigma",
        "The stationary law of Ornstein-Uhlenbeck with twice its variance.",
    ),
)

DENSITIES = in_area(
    "densities",
    (
        "euler-log-volume",
        "fitting.densities.gaussian",
        "density = -0.5 * (square + log_determinant + dim",
        "density = -0.5 * (square + dim",
        "A multivariate normal density without its log-volume.",
    ),
    (
        "euler-g-for-g-squared",
        "fitting.densities.euler",
        "variance = noise * noise * dt",
        "variance = noise.abs() * dt",
        "g in place of g^2 in the variance of a step.",
    ),
    (
        "euler-stratonovich-as-ito",
        "fitting.coefficients",
        "self.model = model.ito()",
        "self.model = model",
        "The step of a Stratonovich model by its own drift.",
    ),
    (
        "euler-drift-at-the-end",
        "fitting.densities.euler",
        "miss = x1 - x0 - self._drift(t, x0, theta) * dt",
        "miss = x1 - x0 - self._drift(t, x1, theta) * dt",
        "The drift is taken at the end of the step.",
    ),
    (
        "kessler-slope-of-the-noise",
        "fitting.densities.kessler",
        "generator.gamma(means[m][i], means[k - 1 - m][j])",
        "generator.gamma(*(u if u.is_Symbol else model.diffusion_matrix[i, i] "
        "for u in (means[m][i], means[k - 1 - m][j])))",
        "Kessler's variance with the derivatives of sigma where those of mu belong.",
    ),
    (
        "kessler-mean-without-curvature",
        "fitting.densities.kessler",
        "terms.append(tensor[i, j] * sympy.diff(slope, x))",
        "terms.append(0 * tensor[i, j] * sympy.diff(slope, x))",
        "A generator without its second derivatives.",
    ),
    (
        "shoji-ozaki-ito-term",
        "fitting.densities.local_linear",
        "tensor[j, k] * sympy.diff(entry, model.state[j], model.state[k])",
        "2 * tensor[j, k] * sympy.diff(entry, model.state[j], model.state[k])",
        "The Ito term of Shoji and Ozaki with the diffusion tensor doubled.",
    ),
    (
        "linear-flow-doubling",
        "fitting.densities.linear_flow",
        "covariance = product(product(growth, covariance), growth.transpose(0, 1)) + covariance",
        "covariance = product(growth, covariance) + covariance",
        "The covariance of the first half of a step moves with the mean's growth alone.",
    ),
    (
        "ait-sahalia-potential",
        "fitting.densities.ait_sahalia",
        "return sympy.expand(model.drift[0] / g - sympy.diff(g, model.state[0]) / 2)",
        "return sympy.expand(model.drift[0] / g)",
        "The expansion's drift in Lamperti's coordinate without its Ito correction.",
    ),
    (
        "ait-sahalia-recursion",
        "fitting.densities.ait_sahalia",
        "right = [0.5 * (n + 2) * (n + 1) * last[n + 2]",
        "right = [(n + 2) * (n + 1) * last[n + 2]",
        "Kolmogorov's recursion with the second derivative not halved.",
    ),
    (
        "ou-variance",
        "fitting.densities.closed_form",
        "s2 * self._steps * phi1(2 * y)",
        "s2 * self._steps * phi1(y)",
        "The variance of Ornstein-Uhlenbeck relaxes at the rate of its mean.",
    ),
    (
        "gbm-ito-correction",
        "fitting.densities.closed_form",
        "mean = (b - s2 / 2) * self._steps",
        "mean = b * self._steps",
        "The logarithm of geometric Brownian motion without its Ito correction.",
    ),
    (
        "gbm-log-volume",
        "fitting.densities.closed_form",
        " - torch.log(x1.abs())\n",
        "\n",
        "The density of log x given as that of x.",
    ),
    (
        "cir-degrees",
        "fitting.densities.closed_form",
        "return 2 * a / s2 - 1, log_k",
        "return 2 * a / s2, log_k",
        "The noncentral chi-square of CIR with two degrees of freedom too many.",
    ),
    (
        "bridge-lamperti-drift",
        "fitting.densities.bridge",
        "mu = sp.expand(f / g - sp.diff(g, x) / 2)",
        "mu = sp.expand(f / g)",
        "Lamperti's coordinate without its Ito correction.",
    ),
    (
        "bridge-potential",
        "fitting.densities.bridge",
        "potential = sp.expand((mu**2 + steepness) / 2)",
        "potential = sp.expand(mu**2 / 2)",
        "Girsanov's potential without mu'.",
    ),
    (
        "bridge-width-sign",
        "fitting.densities.bridge",
        "girsanov = girsanov - width / torch.sqrt",
        "girsanov = girsanov + width / torch.sqrt",
        "The bridge's width enters with the wrong sign.",
    ),
    (
        "boundary-flux",
        "fokker_planck.generator",
        "torch.cat([zero, self.down.exp()])",
        "torch.cat([self.down[:1].exp(), self.down.exp()])",
        "Probability is lost at a reflecting end.",
    ),
    (
        "generator-balance",
        "fokker_planck.generator",
        "down=-log_resistance - rise - local_mass[1:]",
        "down=-log_resistance - local_mass[1:]",
        "Jumps down forget the potential: no detailed balance.",
    ),
    (
        "generator-half-speed",
        "fokker_planck.generator",
        "local_mass = log_mass - potential + 0.6931471805599453",
        "local_mass = log_mass - potential",
        "The 2 of the speed density 2 exp(Psi) / g^2 is lost: time runs twice as fast.",
    ),
)

SIMULATION = in_area(
    "simulation",
    (
        "milstein-without-slope",
        "simulation.schemes",
        "return moved.addcmul_(slope, dw.square().sub_(h), value=0.5 / sqrt(h))",
        "return moved",
        "Milstein without its g g' term.",
    ),
    (
        "milstein-uncentred",
        "simulation.schemes",
        "dw.square().sub_(h)",
        "dw.square()",
        "Milstein's dW^2 without - h, which makes the solution Stratonovich's.",
    ),
    (
        "heun-predictor",
        "simulation.schemes",
        "return eq.euler(x, f, 0.5 * h, g, 0.5 * dw)",
        "return end",
        "Heun with only its predictor.",
    ),
    (
        "euler-noise-squared",
        "simulation.equation",
        "return moved.addcmul_(g, dw) if self.diagonal",
        "return moved.addcmul_(g * g, dw) if self.diagonal",
        "g^2 in place of g before dW.",
    ),
    (
        "order15-mixed-integral",
        "simulation.order15",
        "integrals = (z, hermite, dz / h**1.5, z * hermite)",
        "integrals = (z, hermite, 0.5 * z, z * hermite)",
        "I_(1,0) replaced by its mean given dW.",
    ),
    (
        "integrals-uncorrelated",
        "simulation.noise",
        "row[1].mul_(1 / sqrt(3)).add_(row[0]).mul_(length / 2)",
        "row[1].mul_(1 / sqrt(3)).mul_(length / 2)",
        "I_(1,0) drawn without its correlation with dW.",
    ),
    (
        "noise-scaled-by-dt",
        "simulation.noise",
        "row.mul_(sqrt(length))",
        "row.mul_(length)",
        "Brownian increments of size dt rather than its root.",
    ),
    (
        "time-at-the-end",
        "simulation.stepping",
        "times = grid.starts[steps].to(x).unbind()",
        "times = grid.ends[steps].to(x).unbind()",
        "Every step is given the time of its end.",
    ),
)

MUTANTS: tuple[Mutant, ...] = (
    *OPERATORS,
    *NETS,
    *SYMBOLIC,
    *DENSITIES,
    *SIMULATION,
    *INTEGRATORS,
    *SOLVERS,
    *SENSITIVITIES,
)


def mutant(name: str) -> Mutant:
    """The mutant of a name.

    Raises:
        KeyError: If there is none.
    """
    found = {m.name: m for m in MUTANTS}
    if name not in found:
        raise KeyError(f"No mutant is called {name!r}; there are: {', '.join(found)}.")
    return found[name]


__all__ = ["MUTANTS", "mutant"]
