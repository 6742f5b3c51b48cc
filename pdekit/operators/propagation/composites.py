"""Rules of functions that are built from others: normalisations, softmax, attention, norms, extrema."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from pdekit.errors import OperatorError
from pdekit.operators.propagation import activations, linear_algebra, selections  # noqa: F401 - fill the rules
from pdekit.operators.propagation.jet import Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.shapes import innermost_value


@rule("softmax")
def softmax(run: Run, x: Any, dim: Any = None, dtype: Any = None) -> Any:
    """exp(x) / sum exp(x), shifted by the maximum."""
    x = _with_dtype(x, dim, dtype)
    weights = torch.exp(x - torch.amax(innermost_value(x).detach(), dim, keepdim=True))
    return weights / torch.sum(weights, dim, keepdim=True)


def _with_dtype(x: Any, dim: Any, dtype: Any) -> Any:
    if dim is None:
        raise Unsupported("softmax without an axis")
    return x if dtype is None else x.to(dtype)


@rule("softmin")
def softmin(run: Run, x: Any, dim: Any = None, dtype: Any = None) -> Any:
    """softmax(-x)."""
    return softmax(run, -x, dim, dtype)


@rule("logsumexp")
def logsumexp(run: Run, x: Any, dim: Any, keepdim: bool = False) -> Any:
    """log sum exp(x), shifted by the maximum."""
    top = torch.amax(innermost_value(x).detach(), dim, keepdim=True)
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    summed = torch.log(torch.sum(torch.exp(x - top), dim, keepdim=keepdim))
    return summed + (top if keepdim else torch.squeeze(top, dim))


@rule("log_softmax")
def log_softmax(run: Run, x: Any, dim: Any = None, dtype: Any = None) -> Any:
    """x - logsumexp(x)."""
    x = _with_dtype(x, dim, dtype)
    return x - torch.logsumexp(x, dim, keepdim=True)


@rule("logaddexp")
def logaddexp(run: Run, a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), shifted by the maximum."""
    top = torch.maximum(innermost_value(a).detach(), innermost_value(b).detach())
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    return torch.log(torch.exp(a - top) + torch.exp(b - top)) + top


@rule("logaddexp2")
def logaddexp2(run: Run, a: Any, b: Any) -> Any:
    """The same to base 2."""
    return torch.logaddexp(a * math.log(2.0), b * math.log(2.0)) / math.log(2.0)


def _normalised(x: Any, dims: tuple[int, ...], eps: float) -> Any:
    centred = x - torch.mean(x, dims, keepdim=True)
    variance = torch.mean(centred * centred, dims, keepdim=True)
    return centred * torch.rsqrt(variance + eps)


@rule(functional.layer_norm)
def layer_norm(
    run: Run, x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Zero mean and unit variance over the last axes, then an affine map."""
    y = _normalised(x, tuple(range(-len(normalized_shape), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@rule(functional.rms_norm)
def rms_norm(run: Run, x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: Any = None) -> Any:
    """Unit mean square over the last axes."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    mean = torch.mean(x * x, tuple(range(-len(normalized_shape), 0)), keepdim=True)
    y = x * torch.rsqrt(mean + eps)
    return y if weight is None else y * weight


@rule(functional.group_norm)
def group_norm(run: Run, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Zero mean and unit variance over groups of channels (axis 1)."""
    grouped = x.reshape(x.shape[0], num_groups, -1)
    y = _normalised(grouped, (-1,), eps).reshape(x.shape)
    return _per_channel(y, weight, bias)


@rule(functional.instance_norm)
def instance_norm(
    run: Run,
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Zero mean and unit variance of each channel of each image."""
    if not use_input_stats:
        return batch_norm(run, x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _per_channel(_normalised(x, tuple(range(2 - x.ndim, 0)), eps), weight, bias)


@rule(functional.batch_norm)
def batch_norm(
    run: Run,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """An affine map with the running statistics; refused in training mode, where rows see one another."""
    if training or running_mean is None:
        raise OperatorError(
            "BatchNorm in training mode mixes the rows of a batch, and operators act on each row by itself. Call "
            "model.eval() first, or use LayerNorm."
        )
    inverse = torch.rsqrt(running_var + eps)
    y = (x - _channel(running_mean, x.ndim)) * _channel(inverse, x.ndim)
    return _per_channel(y, weight, bias)


def _channel(z: Any, ndim: int) -> Any:
    return z.reshape(-1, *(1,) * (ndim - 2))


def _per_channel(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else y * _channel(weight, y.ndim)
    return y if bias is None else y + _channel(bias, y.ndim)


@rule("normalize")
def normalize(run: Run, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """x over its norm."""
    return x / torch.clamp(torch.linalg.vector_norm(x, p, dim, keepdim=True), min=eps)


@rule(torch.linalg.vector_norm)
def vector_norm(run: Run, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """(sum |x|^p)^(1/p)."""
    x = x if dtype is None else x.to(dtype)
    if ord == 2:
        return torch.sqrt(torch.sum(x * x, dim, keepdim=keepdim))
    if ord == 1:
        return torch.sum(torch.abs(x), dim, keepdim=keepdim)
    if ord in (math.inf, -math.inf):
        extremum = torch.amax if ord > 0 else torch.amin
        return extremum(torch.abs(x), () if dim is None else dim, keepdim)
    if ord == 0:
        raise Unsupported("the number of entries other than 0")
    return torch.sum(torch.abs(x) ** ord, dim, keepdim=keepdim) ** (1.0 / ord)


@rule(torch.norm, torch.Tensor.norm)
def norm(run: Run, x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The vector norm under its old name."""
    if isinstance(p, str) and p != "fro":
        raise Unsupported(f"the norm {p!r}")
    return torch.linalg.vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@rule(torch.linalg.norm)
def linalg_norm(run: Run, x: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The vector norm; of matrices only the Frobenius norm."""
    axes = x.ndim if dim is None else 1 if isinstance(dim, int) else len(dim)
    if ord == "fro" or (ord is None and (dim is None or axes <= 2)):
        ord = 2
    elif isinstance(ord, str) or axes != 1:
        raise Unsupported(f"the matrix norm {ord!r}")
    return torch.linalg.vector_norm(x, ord, dim, keepdim, dtype=dtype)


@rule("cosine_similarity")
def cosine_similarity(run: Run, a: Any, b: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """The cosine of the angle between vectors."""
    lengths = [torch.clamp(torch.linalg.vector_norm(z, 2, dim, keepdim=True), min=eps) for z in (a, b)]
    return torch.sum((a / lengths[0]) * (b / lengths[1]), dim)


@rule("pairwise_distance")
def pairwise_distance(run: Run, a: Any, b: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The norm of a - b + eps over the last axis."""
    return torch.linalg.vector_norm(a - b + eps, p, -1, keepdim)


@rule("cdist")
def cdist(run: Run, a: Any, b: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The distances of all pairs."""
    return torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)


@rule("hypot")
def hypot(run: Run, a: Any, b: Any) -> Any:
    """sqrt(a^2 + b^2)."""
    return torch.sqrt(a * a + b * b)


@rule("var")
def var(run: Run, x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: Any = 1) -> Any:
    """The variance over axes."""
    return _variance(x, dim, unbiased, keepdim, correction)[0]


@rule("std")
def std(run: Run, x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: Any = 1) -> Any:
    """The standard deviation over axes."""
    return torch.sqrt(_variance(x, dim, unbiased, keepdim, correction)[0])


@rule("var_mean")
def var_mean(
    run: Run, x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: Any = 1
) -> Any:
    """The variance over axes and the mean."""
    return _variance(x, dim, unbiased, keepdim, correction)


@rule("std_mean")
def std_mean(
    run: Run, x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: Any = 1
) -> Any:
    """The standard deviation over axes and the mean."""
    variance, mean = _variance(x, dim, unbiased, keepdim, correction)
    return torch.sqrt(variance), mean


def _variance(x: Any, dim: Any, unbiased: bool, keepdim: bool, correction: Any) -> tuple[Any, Any]:
    if isinstance(dim, bool):  # the old spelling var(x, unbiased)
        dim, unbiased = None, dim
    correction = correction if unbiased else 0
    dims = tuple(range(x.ndim)) if dim is None or dim == () else (dim,) if isinstance(dim, int) else tuple(dim)
    mean = torch.mean(x, dims, keepdim=True)
    count = math.prod([x.shape[d] for d in dims])
    centred = x - mean
    variance = torch.sum(centred * centred, dims, keepdim=keepdim) / max(0, count - correction)
    return variance, mean if keepdim else torch.squeeze(mean, dims)


@rule("mse_loss")
def mse_loss(run: Run, x: Any, target: Any, *, reduction: str = "mean", **kwargs: Any) -> Any:
    """(x - target)^2, each, summed or averaged."""
    if any(z is not None for z in kwargs.values()):
        raise Unsupported("a loss with weights or with arguments of old")
    square = torch.square(x - target)
    return square if reduction == "none" else square.sum() if reduction == "sum" else square.mean()


@rule("scaled_dot_product_attention")
def scaled_dot_product_attention(
    run: Run,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(Q K^T / sqrt(width) + mask) V."""
    if dropout_p > 0 or enable_gqa:
        raise Unsupported("attention with dropout or grouped queries")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = _mask_scores(scores, attn_mask)
    return torch.matmul(torch.softmax(scores, -1), value)


def _mask_scores(scores: Any, mask: Any) -> Any:
    if mask.dtype == torch.bool:
        return torch.masked_fill(scores, ~mask, float("-inf"))
    return scores + mask


@rule("multi_head_attention_forward")
def multi_head_attention_forward(
    run: Run,
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """torch's attention layer: projections, heads, attention, read-out. Axes are (sequence, batch, width)."""
    extras = (bias_k, bias_v, static_k, static_v)
    if any(z is not None for z in extras) or add_zero_attn or (training and dropout_p > 0):
        raise Unsupported("attention with extra keys or dropout")
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        weights = in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    unbatched = query.ndim == 2
    inputs = [z.unsqueeze(1) if unbatched else z for z in (query, key, value)]
    heads = [_heads(functional.linear(z, w, b), num_heads) for z, w, b in zip(inputs, weights, biases, strict=True)]
    q, k, v = heads
    scores = torch.matmul(q * (1 / math.sqrt(q.shape[-1])), k.transpose(-1, -2))
    if attn_mask is not None:
        mask = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask
        mask = mask.unflatten(0, (-1, num_heads)) if mask.ndim == 3 else mask
        scores = _mask_scores(scores, mask)
    if key_padding_mask is not None:
        padding = key_padding_mask.unsqueeze(0) if unbatched else key_padding_mask
        padding = ~padding if padding.dtype == torch.bool else padding
        scores = _mask_scores(scores, padding[:, None, None, :])
    weights_of = torch.softmax(scores, -1)
    mixed = torch.matmul(weights_of, v).permute(2, 0, 1, 3).flatten(2)
    out = functional.linear(mixed, out_proj_weight, out_proj_bias)
    out = out.squeeze(1) if unbatched else out
    if not need_weights:
        return out, None
    weights_of = weights_of.mean(1) if average_attn_weights else weights_of
    return out, weights_of.squeeze(0) if unbatched else weights_of


def _heads(z: Any, count: int) -> Any:
    # (sequence, batch, heads * width) -> (batch, heads, sequence, width)
    return z.unflatten(-1, (count, z.shape[-1] // count)).permute(1, 2, 0, 3)


@rule("rnn_tanh_cell")
def rnn_tanh_cell(run: Run, x: Any, h: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
    """One step of a plain recurrent network."""
    return torch.tanh(functional.linear(x, w_x, b_x) + functional.linear(h, w_h, b_h))


@rule("rnn_relu_cell")
def rnn_relu_cell(run: Run, x: Any, h: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
    """One step of a plain recurrent network with the kinked activation."""
    return torch.relu(functional.linear(x, w_x, b_x) + functional.linear(h, w_h, b_h))


@rule("gru_cell")
def gru_cell(run: Run, x: Any, h: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
    """One step of a gated recurrent unit."""
    reset, update, new = torch.chunk(functional.linear(x, w_x, b_x), 3, -1)
    reset_h, update_h, new_h = torch.chunk(functional.linear(h, w_h, b_h), 3, -1)
    candidate = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
    return candidate + torch.sigmoid(update + update_h) * (h - candidate)


@rule("lstm_cell")
def lstm_cell(run: Run, x: Any, state: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
    """One step of a long short-term memory: the output and the cell."""
    h, c = state
    gates = functional.linear(x, w_x, b_x) + functional.linear(h, w_h, b_h)
    take, forget, new, give = torch.chunk(gates, 4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(give) * torch.tanh(c), c
