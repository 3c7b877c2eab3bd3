"""Medical-SAM-Adapter: a point in an image → the mask of the vertebra there.

`build_medsam("vit_b")` has exactly the published state dict (458 keys); any other `MedsamConfig` makes a network of
the same kind and another size.

Sources: Kirillov et al., "Segment Anything" (2023), through the package segment_anything; Wu et al., "Medical SAM
Adapter" (2023); Simons & Papież, "SpineFM" (2024).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn

from models.spinefm.medsam_encoder import PATCH_PX, AdapterEncoder

FOREGROUND = 1  # label of a point that lies on the wanted structure


@dataclass(frozen=True)
class MedsamConfig:
    """The hyper-parameters of one network.

    image_size: edge of the square input, a multiple of 16 px.
    embed_dim, depth, heads: width, number of blocks and attention heads of the encoder; the width is a multiple of
        four times the heads.
    global_attention: indexes of the blocks that attend over the whole grid of tokens.
    window_size: tokens along the edge of the other blocks' windows.
    prompt_dim: channels of the embedding that prompt and image share, a multiple of 16.
    decoder_mlp_dim: hidden width of the decoder's transformer.
    """

    image_size: int = 1024
    embed_dim: int = 768
    depth: int = 12
    heads: int = 12
    global_attention: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide.

        Raises: ValueError.
        """
        if self.image_size % PATCH_PX:
            raise ValueError(f"image_size {self.image_size} is no multiple of {PATCH_PX}")
        if self.embed_dim % self.heads or self.embed_dim % 4:
            raise ValueError(f"embed_dim {self.embed_dim} does not divide by {self.heads} heads and by 4")
        if self.prompt_dim % 16:
            raise ValueError(f"prompt_dim {self.prompt_dim} is no multiple of 16")


VARIANTS: Mapping[str, MedsamConfig] = MappingProxyType({"vit_b": MedsamConfig()})


class DecoderMLP(nn.Module):
    """The decoder transformer's MLP under the names of the published weights."""

    def __init__(self, channels: int, hidden: int) -> None:
        """Make channels → hidden → channels."""
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(channels, hidden), nn.ReLU()))
        self.fc = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, channels) to the same shape."""
        answer: Tensor = self.fc(self.layers(tokens))
        return answer


class TwoWayBlock(TwoWayAttentionBlock):  # type: ignore[misc]  # segment_anything ships no types
    """A block of the decoder's transformer, as published with SpineFM.

    It differs from SAM's in the self-attention: from the second block on, the prompt's position joins the tokens for
    good (values included), and the first block keeps its input as well.
    """

    def __init__(self, channels: int, hidden: int, *, first: bool) -> None:
        """Make a block of eight heads; the `first` adds no position."""
        super().__init__(channels, num_heads=8, mlp_dim=hidden, skip_first_layer_pe=first)
        self.mlp = DecoderMLP(channels, hidden)

    def forward(self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens (batch, tokens, channels) and pixels (batch, pixels, channels) look at each other."""
        if not self.skip_first_layer_pe:
            queries = queries + query_pe
        queries = self.norm1(queries + self.self_attn(q=queries, k=queries, v=queries))
        placed_keys = keys + key_pe
        seen = self.cross_attn_token_to_image(q=queries + query_pe, k=placed_keys, v=keys)
        queries = self.norm2(queries + seen)
        queries = self.norm3(queries + self.mlp(queries))
        told = self.cross_attn_image_to_token(q=placed_keys, k=queries + query_pe, v=queries)
        return queries, self.norm4(keys + told)


class Medsam(nn.Module):
    """Encoder, prompt encoder and mask decoder as one network."""

    def __init__(self, config: MedsamConfig) -> None:
        """Make the network with random weights."""
        super().__init__()
        self.config = config
        grid = config.image_size // PATCH_PX
        self.image_encoder = AdapterEncoder(
            grid=grid,
            channels=config.embed_dim,
            depth=config.depth,
            heads=config.heads,
            window=config.window_size,
            global_blocks=config.global_attention,
            out_channels=config.prompt_dim,
        )
        self.prompt_encoder = PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        )
        transformer = TwoWayTransformer(depth=0, embedding_dim=config.prompt_dim, num_heads=8, mlp_dim=0)
        transformer.layers.extend(
            TwoWayBlock(config.prompt_dim, config.decoder_mlp_dim, first=index == 0) for index in range(2)
        )
        self.mask_decoder = MaskDecoder(
            transformer_dim=config.prompt_dim, transformer=transformer, iou_head_hidden_dim=config.prompt_dim
        )

    def forward(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Segment the structure at one point per image.

        image: (batch, 3, size, size) in 0–1, without mean and deviation taken off.
        points: (batch, 1, 2) pixel (x, y) on that image.
        Returns logits (batch, 1, size / 4, size / 4) and the network's own score (batch, 1).
        """
        return self.decode(self.image_encoder(image), points)

    def decode(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Turn embeddings (batch, prompt_dim, grid, grid) and points into logits and scores, in single precision.

        The encoder may have worked in half: it takes nearly all the time, and the outline hangs on what is done here.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            return self._decode(embedding.float(), points)

    def _decode(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        labels = torch.full(points.shape[:2], FOREGROUND, device=points.device)
        sparse, dense = self.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        decoder = self.mask_decoder
        # SAM's decoder takes one image and many prompts; here every image brings its own, so its steps are taken here.
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(points), -1, -1), sparse], dim=1)
        positions = self.prompt_encoder.get_dense_pe().expand(len(points), -1, -1, -1)
        answers, pixels = decoder.transformer(embedding + dense, positions, tokens)
        pixels = pixels.transpose(1, 2).reshape(embedding.shape)
        upscaled = decoder.output_upscaling(pixels)
        # Of the four mask tokens the first answers a single point; the other three are not worked out.
        weights = decoder.output_hypernetworks_mlps[0](answers[:, 1, :])
        logits = torch.einsum("bc,bchw->bhw", weights, upscaled)[:, None]
        scores: Tensor = decoder.iou_prediction_head(answers[:, 0, :])[:, :1]
        return logits, scores


def build_medsam(variant: str | MedsamConfig = "vit_b") -> Medsam:
    """Build the network of a published variant, or of any hyper-parameters, with random weights.

    Raises: ValueError for an unknown variant.
    """
    if isinstance(variant, MedsamConfig):
        return Medsam(variant)
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r} of Medical-SAM-Adapter; known: {', '.join(VARIANTS)}")
    return Medsam(VARIANTS[variant])
