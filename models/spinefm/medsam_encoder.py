"""The image encoder of Medical-SAM-Adapter: SAM's ViT with adapters, and attention made for the device.

Shapes: tokens are (batch, rows, columns, channels) on the grid of 16×16-pixel patches.
Parameter names are those of the published weights, also where they differ from SAM's (`rel_h` for `rel_pos_h`).

Sources: Kirillov et al., "Segment Anything" (2023); Wu et al., "Medical SAM Adapter" (2023); attention with decomposed
relative positions from Li et al., "MViTv2" (2022).
"""

import torch
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from segment_anything.modeling.image_encoder import PatchEmbed, window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional as F

PATCH_PX = 16
MLP_ADAPTER_SHARE = 0.5  # what the MLP's adapter contributes to a block
MANY_TOKENS = 1024  # of so many the table of position biases is made for one image at a time
TILE = 1 << 21  # weights of queries for keys at a time on a CPU


class Adapter(nn.Module):
    """A bottleneck of a quarter of the width, beside a frozen layer."""

    def __init__(self, channels: int, *, skip: bool) -> None:
        """Make the two linear layers; `skip` adds the input to the output."""
        super().__init__()
        self.skip = skip
        self.D_fc1 = nn.Linear(channels, channels // 4)
        self.D_fc2 = nn.Linear(channels // 4, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, channels) to the same shape."""
        adapted: Tensor = self.D_fc2(F.gelu(self.D_fc1(tokens)))
        return tokens + adapted if self.skip else adapted


class RelativeAttention(nn.Module):
    """Multi-head self-attention over a square of tokens, with decomposed relative positions."""

    def __init__(self, channels: int, heads: int, side: int) -> None:
        """Make the projections and the two tables of relative positions of a `side`×`side` square."""
        super().__init__()
        self.heads = heads
        self.side = side
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        self.rel_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        offset = torch.arange(side)
        distance = offset[:, None] - offset[None, :] + side - 1
        self.register_buffer("distance", distance, persistent=False)  # (query, key) → row of a table
        self.distance: Tensor

    def project(self, tokens: Tensor, padding: Tensor) -> Tensor:
        """Map tokens (batch, rows, columns, channels) to query, key and value side by side, less those of `padding`.

        padding: (channels,) the token that stands where a window reaches beyond the grid.
        """
        return F.linear(tokens - padding, self.qkv.weight)

    def attend(self, projected: Tensor, padding: Tensor) -> Tensor:
        """Attend within each square.

        projected: (batch, side, side, 3 · channels) from `project`, zero where a square was padded.
        padding: the same as given to `project`.
        Returns (batch, side, side, channels), not yet through the output projection.
        """
        batch, side = projected.shape[0], self.side
        qkv = projected + F.linear(padding, self.qkv.weight, self.qkv.bias)
        qkv = qkv.reshape(batch, side * side, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attention = _attend_in_tiles if projected.device.type == "cpu" else _attend_fused
        query, key, value = qkv.unbind(0)
        mixed = attention(query, key, value, *self._position_bias(query))
        return mixed.transpose(1, 2).reshape(batch, side, side, -1)

    def _position_bias(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """What position adds to queries (batch, heads, tokens, channels): by key row and by key column.

        Returns (batch, heads, tokens, side, 1) and (batch, heads, tokens, 1, side); their sum is the whole table.
        """
        batch, heads, tokens, _ = query.shape
        side = self.side
        grid = query.reshape(batch, heads, side, side, -1)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_h[self.distance].to(query.dtype))
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_w[self.distance].to(query.dtype))
        return by_row.reshape(batch, heads, tokens, side, 1), by_column.reshape(batch, heads, tokens, 1, side)


def _attend_fused(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Attention by torch's fused kernel, the position bias as its mask; all (batch, heads, tokens, channels)."""
    batch, heads, tokens, _ = query.shape
    mixed = torch.empty_like(query)
    step = max(1, batch if tokens < MANY_TOKENS else 1)
    for start in range(0, batch, step):
        part = slice(start, start + step)
        bias = (by_row[part] + by_column[part]).view(-1, heads, tokens, tokens)
        mixed[part] = F.scaled_dot_product_attention(query[part], key[part], value[part], attn_mask=bias)
    return mixed


def _attend_in_tiles(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The same by matrix products, of as many queries at a time as leave their weights in the cache.

    torch's fused kernel multiplies bfloat16 no faster than float32 on a CPU and wants the bias as a table in memory.
    """
    batch, heads, tokens, channels = query.shape
    side = by_column.shape[-1]
    query, key, value = (part.reshape(-1, tokens, channels) for part in (query * channels**-0.5, key, value))
    by_row, by_column = by_row.flatten(0, 1), by_column.flatten(0, 1)
    mixed, key = torch.empty_like(query), key.transpose(1, 2)
    together = max(1, TILE // tokens**2)  # heads
    rows = tokens if together > 1 else max(1, TILE // tokens)
    for first in range(0, batch * heads, together):
        for top in range(0, tokens, rows):
            tile = slice(first, first + together), slice(top, top + rows)
            weights = torch.bmm(query[tile], key[tile[0]])
            weights.unflatten(-1, (side, side)).add_(by_row[tile]).add_(by_column[tile])
            mixed[tile] = torch.bmm(weights.softmax(-1, dtype=value.dtype), value[tile[0]])
    return mixed.view(batch, heads, tokens, channels)


class AdapterBlock(nn.Module):
    """One transformer block with its three adapters."""

    def __init__(self, channels: int, heads: int, *, grid: int, window: int) -> None:
        """Make a block on a `grid`×`grid` square of tokens; `window` 0 attends over all of it."""
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = RelativeAttention(channels, heads, window or grid)
        self.MLP_Adapter = Adapter(channels, skip=False)
        self.Space_Adapter = Adapter(channels, skip=True)
        self.Depth_Adapter = Adapter(channels, skip=True)  # takes part in volumes only, but has weights
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLPBlock(channels, 4 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, rows, columns, channels) to the same shape."""
        tokens = tokens + self._attention(tokens)
        normed = self.norm2(tokens)
        mixed: Tensor = tokens + self.mlp(normed) + MLP_ADAPTER_SHARE * self.MLP_Adapter(normed)
        return mixed

    def _attention(self, tokens: Tensor) -> Tensor:
        # Published order: windows of zero-padded tokens, then norm1, attention and Space_Adapter. Norm, projections and
        # adapter act on each token alone, so they are worked out for real tokens only; a padded token comes out of
        # norm1 as its bias and takes part in the attention as such.
        size, padding = tokens.shape[1:3], self.norm1.bias
        projected = self.attn.project(self.norm1(tokens), padding)
        if self.window:
            windows, padded_size = window_partition(projected, self.window)
            mixed = window_unpartition(self.attn.attend(windows, padding), self.window, padded_size, size)
        else:
            mixed = self.attn.attend(projected, padding)
        adapted: Tensor = self.Space_Adapter(self.attn.proj(mixed))
        return adapted


class AdapterEncoder(nn.Module):
    """From an image to its embedding."""

    def __init__(self, *, grid: int, channels: int, depth: int, heads: int, window: int,
                 global_blocks: tuple[int, ...], out_channels: int) -> None:  # fmt: skip
        """Make `depth` blocks, of which `global_blocks` attend over the whole grid and the others within windows."""
        super().__init__()
        self.patch_embed = PatchEmbed(
            kernel_size=(PATCH_PX, PATCH_PX), stride=(PATCH_PX, PATCH_PX), in_chans=3, embed_dim=channels
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, channels))
        self.blocks = nn.ModuleList(
            AdapterBlock(channels, heads, grid=grid, window=0 if index in global_blocks else window)
            for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, 3, size, size) in 0–1 to (batch, out_channels, size / 16, size / 16)."""
        tokens = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        embedding: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embedding
