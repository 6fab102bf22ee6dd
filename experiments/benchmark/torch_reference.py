"""The same decoder, sampler, scorer and trainer in plain PyTorch, for `experiments.benchmark`.

The usual small GPT in PyTorch: fused attention, `inference_mode`, a KV cache allocated once,
noise drawn in one call. Letters: B sequences, L positions, D the width,
H heads, K = D / H, V the vocabulary.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def _qkv(self, x):  # [B, L, D] -> three of [B, H, L, K]
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.num_heads, -1)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def _rest(self, x, attended):
        x = x + self.attention_out(attended.transpose(1, 2).reshape(x.shape))
        hidden = F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh")
        return x + self.mlp_out(hidden)

    def forward(self, x):
        q, k, v = self._qkv(x)
        return self._rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x, cache, position):  # x [B, 1, D]; cache [2, B, H, L, K], written in place
        q, k, v = self._qkv(x)
        cache[0, :, :, position] = k[:, :, 0]
        cache[1, :, :, position] = v[:, :, 0]
        keys, values = cache[:, :, :, : position + 1]
        return self._rest(x, F.scaled_dot_product_attention(q, keys, values))


class Decoder(nn.Module):
    """`banel_jax.models.transformer` over again: same shapes, same parameter count."""

    def __init__(self, vocab_size: int, length: int, num_layers: int, num_heads: int, width: int):
        super().__init__()
        self.vocab_size, self.length, self.num_heads, self.width = (
            vocab_size,
            length,
            num_heads,
            width,
        )
        self.token_embedding = nn.Embedding(vocab_size + 1, width)
        self.position_embedding = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.final_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens):  # [B, L] -> logits [B, L, V]
        inputs = F.pad(tokens[:, :-1], (1, 0), value=self.vocab_size)
        x = self.token_embedding(inputs) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))

    def step(self, previous, position, caches):  # [B] -> logits [B, V]
        x = self.token_embedding(previous) + self.position_embedding.weight[position]
        x = x[:, None]
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block.step(x, cache, position)  # type: ignore[operator]
        return self.head(self.final_norm(x[:, 0]))


def log_prob(model, tokens, forward=None):
    """log p(x) in nats, [B]; `forward` may be a compiled form of the model."""
    logits = (model if forward is None else forward)(tokens)
    losses = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
    return -losses.view(tokens.shape).sum(1)


@torch.inference_mode()
def score(model, tokens, chunk_size, forward=None):
    return torch.cat([log_prob(model, chunk, forward) for chunk in tokens.split(chunk_size)])


@torch.inference_mode()
def sample(model, n, chunk_size):
    """Tokens [n, L] and log-likelihoods [n] by ancestral sampling."""
    shape = (len(model.blocks), 2, chunk_size, model.num_heads, model.length)
    device = model.head.weight.device
    caches = torch.empty(*shape, model.width // model.num_heads, device=device)
    chunks = [
        _sample_chunk(model, caches[:, :, : min(chunk_size, n - start)])
        for start in range(0, n, chunk_size)
    ]
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def _sample_chunk(model, caches):
    batch, device = caches.shape[2], caches.device
    # The Gumbel-max trick, its noise drawn at once: cheaper than multinomial at every step.
    shape = (model.length, batch, model.vocab_size)
    noise = -torch.empty(shape, device=device).exponential_().log()
    tokens = torch.full((batch,), model.vocab_size, device=device)
    total, drawn = torch.zeros(batch, device=device), []
    for position in range(model.length):
        log_probs = model.step(tokens, position, caches).log_softmax(-1)
        tokens = (log_probs + noise[position]).argmax(-1)
        total += log_probs.gather(1, tokens[:, None])[:, 0]
        drawn.append(tokens)
    return torch.stack(drawn, dim=1), total


def train_epoch(model, optimizer, tokens, batch_size, micro_batch_size, forward=None):
    """One epoch of maximum likelihood with gradients clipped to norm 1."""
    order = torch.randperm(len(tokens), device=tokens.device)
    for batch in tokens[order].split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        for piece in batch.split(micro_batch_size):
            (-log_prob(model, piece, forward).sum() / len(batch)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def finished(run):
    """What `run` returns, when it is there: on a GPU PyTorch does not wait."""
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result
