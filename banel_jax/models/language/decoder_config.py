"""What a pretrained language model's decoder looks like: sizes, norms, positions, types."""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp

from banel_jax import checks


@dataclass(frozen=True)
class RopeScaling:
    """How rotary positions are stretched beyond the context that a model was first trained on.

    Attributes:
      kind: `linear` divides every frequency by the factor; `llama3` those of long wavelengths
        alone, with a smooth passage to the short ones, which stay.
      factor: of the stretch.
      low_freq_factor, high_freq_factor, original_context: of `llama3`: wavelengths (in tokens)
        above original_context / low_freq_factor are long, those below
        original_context / high_freq_factor short.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self):
        checks.fields(self)
        checks.reals(self, "factor", at_least=1)
        checks.reals(self, "low_freq_factor", above=0)
        checks.reals(self, "high_freq_factor", above=self.low_freq_factor)
        checks.integers(self, "original_context", at_least=1)


@dataclass(frozen=True)
class DecoderConfig:
    """Settings of the decoder; those that have a default are Qwen2's without it.

    Attributes:
      vocab_size: V, the rows of the embedding; may exceed the tokenizer's size.
      width, num_layers, mlp_width: of the decoder.
      num_heads: of the queries; divides width unless head_dim is given.
      num_kv_heads: of the keys and values; divides num_heads.
      head_dim: K, of each head; None for width / num_heads.
      norm: RMSNorm, or LayerNorm with a bias.
      norm_eps: added to the mean square, or the variance.
      positions: rotary, or a learned table of `context` rows added to the embedding.
      rope_theta: base of the rotary positions' wavelengths.
      rope_scaling: of them, None for none.
      gated: whether the MLP's activation of one product scales another.
      activation: of the MLP; `gelu` is exact, `gelu_tanh` its usual approximation.
      qkv_bias, out_bias, mlp_bias: whether the products have one: those that make queries, keys
        and values, that of the attention's output, and the MLP's.
      qk_norm: whether each head's queries and keys pass through RMSNorm before they are turned.
      tied: whether the embedding is the output projection as well.
      context: the most tokens of a prompt and its response together.
      dtype: of the activations; norms, softmax, logits and likelihoods are float32.
      param_dtype: of the parameters.
      precision: of the matrix products. Likelihood ratios are small differences of large
        numbers, so the default is full float32 on every device.
      head_block: positions whose logits a scorer holds at a time, which takes 4 V head_block
        bytes for each sequence in work.
      remat: whether a gradient computes each layer again instead of keeping its activations.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    mlp_width: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tied: bool = True
    context: int = 32768
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    precision: str = "highest"
    head_block: int = 8
    remat: bool = True
    head_dim: int | None = None
    norm: Literal["rms", "layer"] = "rms"
    positions: Literal["rotary", "learned"] = "rotary"
    rope_scaling: RopeScaling | None = None
    gated: bool = True
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    qkv_bias: bool = True
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self):
        sizes = ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "mlp_width")
        checks.fields(self)
        checks.integers(self, *sizes, "context", "head_block", at_least=1)
        checks.integers(self, "head_dim", at_least=1, none=True)
        checks.reals(self, "rope_theta", "norm_eps", above=0)
        checks.one_of(self, "precision", ("default", "high", "highest"))
        for name in ("dtype", "param_dtype"):
            if not _is_float(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a type of floats")
        over = f"width={self.width} over num_heads={self.num_heads}"
        if self.head_dim is None and self.width % self.num_heads:
            raise ValueError(f"{over} must be a whole number, or head_dim be given")
        if self.positions == "rotary" and self.head_width % 2:
            what = over if self.head_dim is None else f"head_dim={self.head_dim}"
            raise ValueError(f"{what} must be an even number, for rotary positions turn pairs")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} is not divisible by num_kv_heads={self.num_kv_heads}"
            )
        if self.head_dim and self.head_dim * self.num_heads == self.width:
            object.__setattr__(self, "head_dim", None)  # the same model is the same settings

    @property
    def head_width(self) -> int:
        return self.head_dim or self.width // self.num_heads

    @property
    def query_width(self) -> int:
        """Of a position's queries."""
        return self.num_heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Of a position's keys, and of its values."""
        return self.num_kv_heads * self.head_width


def _is_float(dtype):
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False


QWEN2_5_0_5B = DecoderConfig(
    vocab_size=151936, width=896, num_layers=24, num_heads=14, num_kv_heads=2, mlp_width=4864
)
