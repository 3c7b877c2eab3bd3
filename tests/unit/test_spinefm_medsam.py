"""Medical-SAM-Adapter: the published keys, the published numbers, and the same code at any size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.modeling.image_encoder import Attention

from models.spinefm import build_medsam, medsam_encoder
from models.spinefm.medsam import Medsam, MedsamConfig
from models.spinefm.medsam_encoder import RelativeAttention
from models.spinefm.patches import Window, cut_patches, place
from tests.unit.spinefm_recipe import recipe_like, recipe_state_dict

KEYS = Path(__file__).parents[1] / "data" / "medsam_vit_b_keys.json"
TOLERANCE = 1e-3
SMALL = MedsamConfig(
    image_size=80,
    embed_dim=32,
    depth=3,
    heads=4,
    global_attention=(1,),
    window_size=3,
    prompt_dim=32,
    decoder_mlp_dim=64,
)


@pytest.fixture(scope="module")
def facts(shared: Path) -> Path:
    """Find the reference numbers, or skip."""
    folder = shared / "facts" / "spinefm"
    if not folder.is_dir():
        pytest.skip(f"the reference numbers are not at hand: {folder}")
    return folder


@pytest.fixture(scope="module")
def published() -> Medsam:
    """Build ViT-B with weights from the recipe."""
    network = build_medsam("vit_b").eval()
    network.load_state_dict(recipe_state_dict(json.loads(KEYS.read_text())))
    return network


@pytest.fixture
def small() -> Medsam:
    """Build a small network with weights from the recipe."""
    network = build_medsam(SMALL).eval()
    network.load_state_dict(recipe_like(network.state_dict()))
    return network


def middle(size: int, batch: int = 1) -> torch.Tensor:
    """Prompt the middle of each image."""
    return torch.full((batch, 1, 2), size / 2)


def test_vit_b_has_exactly_the_published_keys_and_shapes() -> None:
    """458 keys, in the published order."""
    with torch.device("meta"):
        network = build_medsam("vit_b")

    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}

    assert len(shapes) == 458
    assert list(shapes.items()) == list(json.loads(KEYS.read_text()).items())


@pytest.mark.slow
def test_the_wave_comes_out_as_measured(published: Medsam, facts: Path) -> None:
    """Embedding, logits and score agree to 1e-3."""
    reference = np.load(facts / "spinefm_golden.npz")
    axis = np.arange(1024) / 1024
    x, y = axis[None, :], axis[:, None]
    wave = 0.5 + 0.25 * np.sin(7 * x + 3 * y) + 0.2 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.02)
    image = torch.from_numpy(wave.clip(0, 1).astype(np.float32)).expand(1, 3, -1, -1)

    with torch.inference_mode():
        embedding = published.image_encoder(image)
        logits, scores = published.decode(embedding, middle(1024))

    every_8th = embedding[0, :, ::8, ::8].numpy()
    np.testing.assert_allclose(every_8th, reference["wave_embedding_every_8th"], atol=TOLERANCE)
    np.testing.assert_allclose(logits[0, 0].numpy(), reference["wave_logits"], atol=TOLERANCE)
    np.testing.assert_allclose(scores.numpy(), reference["wave_score"], atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inside", "left_edge", "bottom_edge"])
def test_a_point_in_a_radiograph_comes_out_as_measured(published: Medsam, facts: Path, name: str) -> None:
    """Patch, logits on the whole image and refined centroid agree, also where the patch leaves the image."""
    case = next(c for c in json.loads((facts / "spinefm_golden.json").read_text())["cases"] if c["name"] == name)
    reference = np.load(facts / "spinefm_golden.npz")[f"{name}_logits_every_4th"]
    pixels = torch.from_numpy(np.array(Image.open(facts / "golden_image.png"))).permute(2, 0, 1)
    window = Window.around(case["point_xy"], case["patch_size"])

    with torch.inference_mode():
        logits, _ = published(cut_patches(pixels, [case["point_xy"]], edge=window.edge, size=1024), middle(1024))
    mask = place(logits[0, 0], window, (pixels.shape[1], pixels.shape[2]))

    whole = mask.whole()
    np.testing.assert_allclose(whole[::4, ::4], reference, atol=TOLERANCE)
    assert (whole.min(), whole.max()) == pytest.approx((case["min"], case["max"]), abs=TOLERANCE)
    assert whole.sum(dtype=np.float64) == pytest.approx(case["sum"], abs=TOLERANCE * whole.size)
    assert list(mask.weighted_centroid()) == case["weighted_centroid_xy"]


def test_a_small_network_runs_by_the_same_code(small: Medsam) -> None:
    """Logits are a quarter of the image's edge, a score per image."""
    with torch.inference_mode():
        logits, scores = small(torch.rand(2, 3, 80, 80), middle(80, 2))

    assert logits.shape == (2, 1, 20, 20)
    assert scores.shape == (2, 1)


def test_a_batch_is_its_images_one_by_one(small: Medsam) -> None:
    """No image sees another."""
    images, points = torch.rand(3, 3, 80, 80), torch.tensor([[[10.0, 60.0]], [[40.0, 40.0]], [[79.0, 0.0]]])

    with torch.inference_mode():
        together = small(images, points)[0]
        alone = torch.cat([small(images[i : i + 1], points[i : i + 1])[0] for i in range(3)])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_prompt_decides_what_is_segmented(small: Medsam) -> None:
    """Another point, another mask."""
    image = torch.rand(1, 3, 80, 80)

    with torch.inference_mode():
        here, there = small(image, torch.tensor([[[8.0, 8.0]]]))[0], small(image, torch.tensor([[[70.0, 70.0]]]))[0]

    assert (here - there).abs().max() > 1e-3


@pytest.mark.parametrize(("form", "tile"), [("fused", 0), ("in_tiles", 1 << 21), ("in_tiles", 2000), ("in_tiles", 1)])
@pytest.mark.parametrize("side", [5, 33])
def test_attention_equals_the_attention_of_sam(
    side: int, form: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's form and a CPU's give what softmax(QK + bias)V gives, on small and large squares, in any tiles."""
    monkeypatch.setattr(medsam_encoder, "_attend_in_tiles", getattr(medsam_encoder, f"_attend_{form}"))
    monkeypatch.setattr(medsam_encoder, "TILE", tile)
    ours = RelativeAttention(32, 4, side).eval()
    state = recipe_like(ours.state_dict())
    ours.load_state_dict(state)
    sam = Attention(32, num_heads=4, use_rel_pos=True, input_size=(side, side)).eval()
    sam.load_state_dict({key.replace("rel_", "rel_pos_"): value for key, value in state.items()})
    tokens, no_padding = torch.randn(2, side, side, 32), torch.zeros(32)

    with torch.inference_mode():
        mixed = ours.proj(ours.attend(ours.project(tokens, no_padding), no_padding))

        torch.testing.assert_close(mixed, sam(tokens), atol=1e-5, rtol=0)


def test_half_precision_keeps_the_answer(small: Medsam) -> None:
    """Autocast runs through every layer of the encoder, the attention too, and changes little."""
    image = torch.rand(1, 3, 80, 80)

    with torch.inference_mode():
        exact = small(image, middle(80))[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = small(image, middle(80))[0]

    assert (half.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_an_unknown_variant_is_refused() -> None:
    """The message lists the known ones."""
    with pytest.raises(ValueError, match="no variant 'vit_z'.*vit_b"):
        build_medsam("vit_z")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "no multiple of 16"),
        ({"embed_dim": 30}, "does not divide"),
        ({"prompt_dim": 40}, "no multiple of 16"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(change: dict[str, Any], message: str) -> None:
    """A network that cannot work is not built."""
    with pytest.raises(ValueError, match=message):
        MedsamConfig(**change)
