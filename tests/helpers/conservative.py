"""Blocks written out with attention's weights and the divisors of norms constant to autograd."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
Activate = Callable[[Tensor, Activation], Tensor]


def divided(states: Tensor, norm: Any, *, centred: bool = True) -> Tensor:
    """LayerNorm, or RMSNorm, by a divisor that is constant to autograd."""
    if centred:
        states = states - states.mean(-1, keepdim=True)
    eps = norm.eps if centred else norm.variance_epsilon
    spread = (states.square().mean(-1, keepdim=True) + eps).sqrt()
    normed: Tensor = states / spread.detach() * norm.weight
    if centred:
        normed = normed + norm.bias
    return normed


def of_heads(states: Tensor, heads: int) -> Tensor:
    """[tokens, width] -> [heads, tokens, width of a head]."""
    return states.reshape(len(states), heads, -1).transpose(0, 1)


def weights(query: Tensor, key: Tensor, *, causal: bool) -> Tensor:
    """Those of attention, constant to autograd."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if causal:
        scores = scores + torch.full(scores.shape[1:], -torch.inf).triu(1)
    attention: Tensor = scores.softmax(-1)
    return attention.detach()


def secant(states: Tensor, activation: Activation) -> Tensor:
    """An activation as its input times a quotient that is constant to autograd."""
    values = activation(states)
    return states * (values / states).detach()


def slope(states: Tensor, activation: Activation) -> Tensor:
    """An activation as it is."""
    return activation(states)


def bert_block(layer: Any, states: Tensor, activate: Activate = slope) -> Tensor:
    attention, heads = layer.attention.self, layer.attention.self.num_attention_heads
    query, key, value = (
        of_heads(f(states), heads) for f in (attention.query, attention.key, attention.value)
    )
    mixed = (weights(query, key, causal=False) @ value).transpose(0, 1).flatten(1)
    out = layer.attention.output
    states = divided(out.dense(mixed) + states, out.LayerNorm)
    inner = activate(layer.intermediate.dense(states), layer.intermediate.intermediate_act_fn)
    return divided(layer.output.dense(inner) + states, layer.output.LayerNorm)


def llama_block(layer: Any, states: Tensor, rotary: Any, activate: Activate = slope) -> Tensor:
    attention, normed = layer.self_attn, divided(states, layer.input_layernorm, centred=False)
    width = attention.head_dim
    query, key, value = (
        f(normed).unflatten(-1, (-1, width)).transpose(0, 1)
        for f in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    places = torch.arange(len(states))[None]
    cos, sin = (part[0] for part in rotary(states[None], places))
    query, key = (
        x * cos + torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1) * sin
        for x in (query, key)
    )
    shared = len(query) // len(value)
    key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
    mixed = (weights(query, key, causal=True) @ value).transpose(0, 1).flatten(1)
    states = states + attention.o_proj(mixed)
    normed, mlp = divided(states, layer.post_attention_layernorm, centred=False), layer.mlp
    gate = activate(mlp.gate_proj(normed), mlp.act_fn)
    output: Tensor = states + mlp.down_proj(gate * mlp.up_proj(normed))
    return output


class Divided(nn.Module):
    """A norm by a divisor that is constant to autograd."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor) -> Tensor:
        return divided(states, self.norm, centred=isinstance(self.norm, nn.LayerNorm))
