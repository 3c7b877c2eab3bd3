"""What surrounds the spine in an MR phantom: muscles, fat, vessels, organs, lungs, airway, skin and air.

Crude on purpose and drawn over a wide range, as in `surroundings.py`. Positions are told in the spine's own terms:
d, the distance behind the back walls of the bodies, and a, the distance beside the middle of the spine, in mm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.phantom.anatomy import Spine
from models.phantom.mr_plane import PlaneGrid
from models.phantom.mr_tissues import Tissue

Plane2D = NDArray[np.float32]
ORGANS = (Tissue.FAT,) * 3 + (Tissue.ORGAN,) * 2 + (Tissue.BOWEL, Tissue.FLUID) + (Tissue.OTHER_ORGAN,) * 2 + (
    Tissue.MUSCLE, Tissue.AIR, Tissue.LUNG, Tissue.VESSEL)  # fmt: skip
BESIDE_PLANES = 6


def resized(coarse: NDArray[np.float32], shape: tuple[int, int]) -> Plane2D:
    """Enlarge (rows, columns) smoothly to `shape`."""
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float32)


@dataclass(frozen=True)
class SmoothNoise:
    """Smooth noise through the volume; `coarse` is (planes, rows, columns), unit deviation."""

    coarse: NDArray[np.float32]

    @staticmethod
    def draw(rng: np.random.Generator, grid: PlaneGrid, grain_mm: float) -> "SmoothNoise":
        """Draw noise whose grain is `grain_mm` in the plane; across planes it changes over a sixth of the volume."""
        rows, columns = (max(3, int(n * mm / grain_mm) + 2) for n, mm in zip(grid.shape, grid.pixel_mm, strict=True))
        return SmoothNoise(rng.standard_normal((BESIDE_PLANES, rows, columns)).astype(np.float32))

    def at(self, depth: float, shape: tuple[int, int]) -> Plane2D:
        """The plane at `depth` (0–1 through the volume)."""
        place = np.clip(depth, 0, 1) * (BESIDE_PLANES - 1)
        low = min(int(place), BESIDE_PLANES - 2)
        share = np.float32(place - low)
        mixed = self.coarse[low] * (1 - share) + self.coarse[low + 1] * share
        return resized(mixed / np.sqrt((1 - share) ** 2 + share**2), shape)


@dataclass(frozen=True)
class Course:
    """How the spine runs along the rows of a grid, each (rows, 1) float32.

    wall: u of the bodies' back walls; middle: x of the spine; depth: of the bodies; cosine: of their pitch;
    half_width: of the bodies; level: position along the chain, 0 = C2, counted in vertebrae.
    """

    wall: Plane2D
    middle: Plane2D
    depth: Plane2D
    cosine: Plane2D
    half_width: Plane2D
    level: Plane2D

    @staticmethod
    def of(spine: Spine, grid: PlaneGrid) -> "Course":
        """Follow a spine along the rows of a grid."""
        v = grid.origin[1] + np.arange(grid.shape[0]) * grid.pixel_mm[0]
        chain = spine.vertebrae
        heights = np.maximum.accumulate([vertebra.centre[2] for vertebra in chain]) + np.arange(len(chain)) * 1e-3

        def along(values: list[float]) -> Plane2D:
            return np.asarray(np.interp(v, heights, values)[:, None], np.float32)

        return Course(
            wall=along([float(item.centre[1] + np.cos(item.pitch) * item.size[1] / 2) for item in chain]),
            middle=along([float(item.centre[0]) for item in chain]),
            depth=along([item.size[1] for item in chain]),
            cosine=along([float(np.cos(item.pitch)) for item in chain]),
            half_width=along([item.size[0] / 2 for item in chain]),
            level=along([float(index) for index in range(len(chain))]),
        )


@dataclass(frozen=True)
class Surroundings:
    """Soft tissue around one person's spine; `paint` gives the background of a plane."""

    grid: PlaneGrid
    course: Course
    stature: float
    organs: tuple[SmoothNoise, ...]
    organ_tissues: tuple[Tissue, ...]
    streaks: tuple[SmoothNoise, SmoothNoise]
    wobble: SmoothNoise
    back_muscle_mm: float
    back_fat_mm: float
    belly_mm: float
    streak_level: float
    vessel: tuple[float, float, float]
    beside: Tissue
    lung_side: float
    airway: tuple[float, float]
    neck_rows: float

    @staticmethod
    def draw(rng: np.random.Generator, spine: Spine, grid: PlaneGrid) -> "Surroundings":
        """Draw the surroundings of a spine in a field of view."""
        count = int(rng.integers(3, 8))
        grain = rng.uniform(14, 45)
        return Surroundings(
            grid=grid,
            course=Course.of(spine, grid),
            stature=spine.stature,
            organs=tuple(SmoothNoise.draw(rng, grid, grain) for _ in range(count)),
            organ_tissues=tuple(ORGANS[i] for i in rng.integers(0, len(ORGANS), count)),
            streaks=(SmoothNoise.draw(rng, grid, rng.uniform(4, 9)), SmoothNoise.draw(rng, grid, rng.uniform(9, 20))),
            wobble=SmoothNoise.draw(rng, grid, 60),
            back_muscle_mm=rng.uniform(34, 60),
            back_fat_mm=rng.uniform(3, 45),
            belly_mm=rng.uniform(70, 170),
            streak_level=rng.uniform(0.6, 2.2),
            vessel=(rng.uniform(1, 9), rng.uniform(6, 22), rng.uniform(-6, 22)),
            beside=Tissue.FAT if rng.random() < 0.7 else Tissue.VESSEL,
            lung_side=rng.uniform(-4, 14),
            airway=(rng.uniform(4, 14), rng.uniform(6, 18)),
            neck_rows=rng.uniform(3.5, 6.5),
        )

    def paint(self, x: float, depth: float) -> NDArray[np.uint8]:
        """The tissues of the plane at `x` mm, `depth` (0–1) through the volume, (rows, columns) uint8."""
        shape, course = self.grid.shape, self.course
        u = (self.grid.origin[0] + np.arange(shape[1], dtype=np.float32) * self.grid.pixel_mm[1])[None, :]
        behind = (u - course.wall) * course.cosine
        beside = np.abs(x - course.middle)
        before = -(behind + course.depth)
        fields = np.stack([noise.at(depth, shape) for noise in self.organs])
        tissues = np.array(self.organ_tissues, np.uint8)[fields.argmax(0)]
        fat = self.streaks[0].at(depth, shape) + 0.7 * self.streaks[1].at(depth, shape) > self.streak_level
        muscle = np.where(fat, Tissue.FAT, Tissue.MUSCLE).astype(np.uint8)
        tissues = np.where(behind > 0, muscle, tissues)
        self._beside_bodies(tissues, behind, before, beside, muscle)
        self._before_bodies(tissues, before, beside, x)
        self._behind_arches(tissues, behind, beside, depth)
        self._outside(tissues, u, behind, depth)
        return tissues

    def _beside_bodies(
        self, tissues: NDArray[np.uint8], behind: Plane2D, before: Plane2D, beside: Plane2D, muscle: NDArray[np.uint8]
    ) -> None:
        course = self.course
        band = (behind < 6) & (before < 4) & (beside > 0.88 * course.half_width)
        thoracic = (course.level > 6) & (course.level < 17)
        tissues[...] = np.where(band & ~thoracic, muscle, tissues)
        air = (behind < 10) & thoracic & (beside > course.half_width + self.lung_side)
        tissues[...] = np.where(air, Tissue.LUNG, np.where(band & thoracic & ~air, Tissue.FAT, tissues))

    def _before_bodies(self, tissues: NDArray[np.uint8], before: Plane2D, beside: Plane2D, x: float) -> None:
        gap, thick, place = self.vessel
        course = self.course
        tissues[(before > -4) & (before < gap)] = Tissue.FAT
        tube = (before > gap) & (before < gap + thick) & (abs(x - place) < thick / 2 + 6) & (course.level > 7)
        tissues[tube & (course.level < 22)] = Tissue.VESSEL
        tissues[(before > -4) & (before < 1.0) & (beside < 0.8 * course.half_width)] = Tissue.LIGAMENT
        neck = course.level < 6
        tissues[neck & (before > 1) & (before < 5)] = Tissue.MUSCLE
        near, wide = self.airway
        tissues[neck & (before > near) & (before < near + wide) & (beside < 10)] = Tissue.AIR

    def _behind_arches(self, tissues: NDArray[np.uint8], behind: Plane2D, beside: Plane2D, depth: float) -> None:
        between = (behind > 14) & (behind < 48) & (beside < 5)
        grain = self.streaks[0].at(1 - depth, self.grid.shape)
        kind = np.where(grain > 0.9, Tissue.FAT, np.where(grain < -0.9, Tissue.LIGAMENT, Tissue.INTERSPINOUS))
        tissues[...] = np.where(between, kind, tissues)

    def _outside(self, tissues: NDArray[np.uint8], u: Plane2D, behind: Plane2D, depth: float) -> None:
        """Subcutaneous fat, skin and the air around the person."""
        rows = self.grid.shape[0]
        wobble = self.wobble.at(depth, (rows, 4))[:, :1] * 5
        course = self.course
        level_back = np.minimum(course.wall.max(), course.wall + 30)
        muscle_end = level_back + self.back_muscle_mm * self.stature + wobble
        skin = muscle_end + self.back_fat_mm + 0.4 * wobble
        front = course.wall - course.depth - np.where(
            course.level < self.neck_rows, 0.55 * self.belly_mm, self.belly_mm
        ).astype(np.float32)  # fmt: skip
        tissues[(u > muscle_end) & (behind > 20)] = Tissue.FAT
        tissues[u < front + 12] = Tissue.FAT
        tissues[(u > skin) | (u < front)] = Tissue.SKIN
        tissues[(u > skin + 2) | (u < front - 2)] = Tissue.AIR
