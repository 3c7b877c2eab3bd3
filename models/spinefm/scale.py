"""How large a vertebral body is in pixels, and so how large the patches are.

The size of a body is the square root of its area. With calibrated spacing it follows from the body region; else it is
what the detector saw. Published weights speak of patches in pixels of their own data set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from models.contracts import BodyRegion, RadiographImage
from models.spinefm.config import PatchSettings, SpineFMConfig
from models.spinefm.detection import Detection


@dataclass(frozen=True)
class Scale:
    """The sizes of one radiograph.

    body_px: size of a body. segmenter_px, classifier_px: edges of the patches, in pixels of the image.
    region: the body region, from the header, the pack or the bodies' size; None where nothing tells.
    sentence: where the patch size came from. warnings: what is doubtful about it.
    """

    body_px: float
    segmenter_px: int
    classifier_px: int
    region: BodyRegion | None
    sentence: str
    warnings: tuple[str, ...] = ()


def resolve_scale(image: RadiographImage, detections: Sequence[Detection], config: SpineFMConfig) -> Scale:
    """Decide on body and patch sizes.

    detections: those that count, at least one.
    """
    seen_px = median(detection.size_px for detection in detections)
    mm_per_px = math.sqrt(image.spacing_mm[0] * image.spacing_mm[1]) if image.spacing_mm else None
    region = image.body_region or (config.regions[0] if len(config.regions) == 1 else None)
    warnings = []
    body_px = seen_px
    source = f"the median of {len(detections)} detected bodies, {seen_px:.0f} px; no calibrated pixel spacing"
    if mm_per_px is not None:
        named = region is not None
        region = region or region_of(seen_px * mm_per_px, config)
        body_mm = config.walk.body_size_mm[region]
        if differ(body_mm / mm_per_px, seen_px) <= config.walk.size_tolerance:
            body_px = body_mm / mm_per_px
            how = "the region" if named else "the detected size"
            source = f"calibrated spacing of {mm_per_px:.3g} mm and {region} bodies of {body_mm:.3g} mm, by {how}"
        else:
            source = f"the median of {len(detections)} detected bodies, {seen_px:.0f} px"
            warnings.append(
                f"the pixel spacing makes a {region} body {body_mm / mm_per_px:.0f} px, "
                f"{seen_px:.0f} px were seen: the spacing may be wrong"
            )
    if config.segmenter.px is not None and config.reference_body_px is None:
        source = "the pack's data set, in pixels"
        if not 2.0 <= config.segmenter.px / seen_px <= 12.0:
            warnings.append(
                f"the pack's patches of {config.segmenter.px} px do not suit bodies of {seen_px:.0f} px: "
                "the image is of another resolution than the pack's data set"
            )
    segmenter_px = edge_px(config.segmenter, body_px, config.reference_body_px)
    classifier_px = edge_px(config.classifier, body_px, config.reference_body_px)
    sentence = f"patch edge {segmenter_px} px, from {source}"
    return Scale(body_px, segmenter_px, classifier_px, region, sentence, tuple(warnings))


def edge_px(patch: PatchSettings, body_px: float, reference_body_px: float | None) -> int:
    """Edge of a patch in pixels of the image, an even number."""
    if patch.body_sizes is not None:
        edge = patch.body_sizes * body_px
    else:
        edge = float(patch.px or 0) * (body_px / reference_body_px if reference_body_px else 1.0)
    return max(2, 2 * round(edge / 2))


def region_of(size_mm: float, config: SpineFMConfig) -> BodyRegion:
    """The region whose bodies are nearest in size; among those that the pack accepts, where it names any."""
    sizes = {region: mm for region, mm in config.walk.body_size_mm.items()
             if not config.regions or region in config.regions}  # fmt: skip
    return min(sizes, key=lambda region: differ(sizes[region], size_mm))


def differ(a: float, b: float) -> float:
    """By which factor two sizes differ, at least 1."""
    low, high = sorted((a, b))
    return high / low if low > 0 else math.inf
