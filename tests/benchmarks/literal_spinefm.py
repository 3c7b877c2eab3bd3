"""SpineFM's segmentation rendered literally, as a yardstick: a patch at a time, SAM's own attention, whole images.

Attention and windows are those of the package segment_anything, the adapters stand where the paper puts them, and every
mask is spread over the whole image before a centroid or an overlap is taken.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling.image_encoder import Attention, window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional as F

from models.spinefm.medsam import Medsam
from models.spinefm.medsam_encoder import AdapterBlock, AdapterEncoder


class LiteralBlock(nn.Module):
    """One block around SAM's attention, which builds the whole table of weights and adds the positions to it."""

    def __init__(self, block: nn.Module) -> None:
        """Take over the weights of a block."""
        super().__init__()
        if not isinstance(block, AdapterBlock):
            raise TypeError(f"a literal block is made of an AdapterBlock, not of {type(block).__name__}")
        self.block = block
        side = block.attn.side
        channels = block.attn.proj.out_features
        self.attn = Attention(channels, num_heads=block.attn.heads, use_rel_pos=True, input_size=(side, side))
        weights = {key.replace("rel_", "rel_pos_"): value for key, value in block.attn.state_dict().items()}
        self.attn.load_state_dict(weights)

    def forward(self, x: Tensor) -> Tensor:
        """Partition, normalise, attend, adapt, unpartition; then the MLP and its adapter."""
        block, shortcut, size = self.block, x, x.shape[1:3]
        if block.window:
            x, padded = window_partition(x, block.window)
        x = block.Space_Adapter(self.attn(block.norm1(x)))
        if block.window:
            x = window_unpartition(x, block.window, padded, size)
        x = shortcut + x
        normed = block.norm2(x)
        answer: Tensor = x + block.mlp(normed) + 0.5 * block.MLP_Adapter(normed)
        return answer


class LiteralEncoder(nn.Module):
    """The encoder made of literal blocks."""

    def __init__(self, encoder: AdapterEncoder) -> None:
        """Take over the weights of an encoder."""
        super().__init__()
        self.encoder = encoder
        self.blocks = nn.ModuleList(LiteralBlock(block) for block in encoder.blocks)

    def forward(self, image: Tensor) -> Tensor:
        """Map (1, 3, size, size) to its embedding."""
        x = self.encoder.patch_embed(image) + self.encoder.pos_embed
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.encoder.neck(x.permute(0, 3, 1, 2))
        return embedding


class LiteralSegmenter:
    """Segments around one point at a time."""

    def __init__(self, network: Medsam, edge: int) -> None:
        """Take over a network; patches have this edge."""
        self.network = network
        self.encoder = LiteralEncoder(network.image_encoder).eval().to(network.mask_decoder.iou_token.weight.device)
        self.edge = edge

    def __call__(self, pixels: NDArray[np.float32], point: tuple[int, int]) -> NDArray[np.float32]:
        """Logits on the whole image (rows, columns) for the structure at (x, y)."""
        half, size = self.edge // 2, self.network.config.image_size
        padded = np.pad(pixels, half)
        x, y = point
        device = self.network.mask_decoder.iou_token.weight.device
        patch = torch.from_numpy(padded[y : y + self.edge, x : x + self.edge].copy()).to(device)[None, None]
        patch = F.interpolate(patch, size=(size, size), mode="bilinear", antialias=True).expand(1, 3, -1, -1)
        logits, _ = self.network.decode(self.encoder(patch), torch.full((1, 1, 2), size / 2, device=device))
        small = F.interpolate(logits, size=(self.edge, self.edge), mode="nearest")[0, 0].cpu().numpy()
        whole = np.full(padded.shape, float(int(logits.min())), dtype=np.float32)
        whole[y : y + self.edge, x : x + self.edge] = small
        return whole[half:-half, half:-half]


def literal_centroid(logits: NDArray[np.float32]) -> tuple[int, int]:
    """Mean (x, y) of all pixels, weighted by sigmoid and truncated."""
    weight = 1 / (1 + np.exp(-logits.astype(np.float64)))
    rows, columns = np.indices(logits.shape)
    return int((weight * columns).sum() / weight.sum()), int((weight * rows).sum() / weight.sum())


def literal_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Overlap of logits above 0.5 on the whole image."""
    first, second = a > 0.5, b > 0.5
    return float(np.logical_and(first, second).sum() / max(np.logical_or(first, second).sum(), 1))
