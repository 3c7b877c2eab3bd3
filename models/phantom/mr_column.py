"""The whole column in a sagittal plane of an MR phantom: canal with cord and cauda, atlas, and every vertebra."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from models.phantom.anatomy import Spine
from models.phantom.mr_plane import Plane
from models.phantom.mr_surroundings import Surroundings
from models.phantom.mr_tissues import Tissue
from models.phantom.mr_vertebra import CANAL_MM, Look, Person, Place, paint_arch, paint_body, paint_disc
from models.phantom.solids import axis_outline, ellipse

CORD, CANAL = 60, 61
STEPS_PER_VERTEBRA = 8
CORD_MM = {"C": (3.9, 6.3), "T": (3.1, 4.2), "L": (3.7, 4.6)}  # half the depth, half the width


# Distances behind the wall of the bodies, front and back, and the rows in which they hold.
Band = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(frozen=True)
class CanalCourse:
    """The canal, sampled from above the axis down to S4, each (n,): its front wall, direction and size in mm.

    x, u, v: the front wall in the midline; backwards: (n, 2) in (u, v); depth, half_width: of the canal;
    cord: (n, 2) half the cord's depth and width, 0 below the conus; chain: position along the chain, C2 = 0.
    """

    x: NDArray[np.float64]
    uv: NDArray[np.float64]
    backwards: NDArray[np.float64]
    depth: NDArray[np.float64]
    half_width: NDArray[np.float64]
    cord: NDArray[np.float64]
    chain: NDArray[np.float64]

    @staticmethod
    def of(rng: np.random.Generator, spine: Spine, person: Person) -> "CanalCourse":
        """Follow the back walls of a spine's bodies; above C2 it goes straight on."""
        chain = spine.vertebrae
        walls = np.array([item.to_phantom(0.0, np.array([[item.size[1] / 2, 0.0]]))[1][0] for item in chain])
        middles = np.array([float(item.centre[0]) for item in chain])
        places = np.arange(len(chain), dtype=float)
        t = np.arange(-3.0, len(chain) - 1 + 1e-9, 1 / STEPS_PER_VERTEBRA)
        inside = np.maximum(t, 0)
        uv = np.stack([CubicSpline(places, walls[:, axis])(inside) for axis in (0, 1)], 1)
        tangent = np.stack([CubicSpline(places, walls[:, axis])(inside, 1) for axis in (0, 1)], 1)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        above = np.minimum(t, 0)[:, None] * 17 * spine.stature
        lean = np.array([rng.uniform(-0.3, 0.25), 0.0])
        uv = uv + tangent * above + lean * above
        sizes = np.array([CANAL_MM[item.level] for item in chain]) * person.canal
        wobble = np.exp(rng.normal(0, 0.05, len(chain)))
        conus = next(i for i, item in enumerate(chain) if item.level == "L1") + rng.normal(0, 0.6)
        cord = np.array([CORD_MM.get(item.level[0], CORD_MM["L"]) for item in chain]) * rng.uniform(0.82, 1.18)
        taper = np.clip((conus - t) / 1.6, 0, 1)[:, None] ** 0.6
        cord_size = np.stack([np.interp(inside, places, cord[:, axis]) for axis in (0, 1)], 1) * taper
        return CanalCourse(
            x=np.interp(inside, places, middles),
            uv=uv,
            backwards=np.stack([tangent[:, 1], -tangent[:, 0]], 1),
            depth=np.interp(inside, places, sizes[:, 0] * wobble) * np.where(t < 0, 1 + 0.12 * np.minimum(-t, 2), 1),
            half_width=np.interp(inside, places, sizes[:, 1]),
            cord=cord_size * np.where(t < -1.3, 1.25, 1)[:, None],
            chain=t,
        )


@dataclass(frozen=True)
class Column:
    """A person's spine with all that was drawn for it; `paint` cuts it by a plane."""

    spine: Spine
    person: Person
    looks: tuple[Look, ...]
    canal: CanalCourse
    surroundings: Surroundings
    epidural_mm: tuple[float, float]
    cord_place: float
    sac_end: float
    roots: NDArray[np.float64]
    root_mm: float
    screws: frozenset[int]

    @staticmethod
    def draw(rng: np.random.Generator, spine: Spine, surroundings: Surroundings) -> "Column":
        """Draw everything about a spine that its vertebrae leave open."""
        person = Person.draw(rng, spine.stature)
        worn = rng.uniform(0, 0.7)
        count = len(spine.vertebrae)
        screws: frozenset[int] = frozenset()
        if rng.random() < 0.03:
            first = int(rng.integers(8, count - 5))
            screws = frozenset(range(first, first + int(rng.integers(2, 4))))
        return Column(
            spine=spine,
            person=person,
            looks=tuple(Look.draw(rng, vertebra, person, worn) for vertebra in spine.vertebrae),
            canal=CanalCourse.of(rng, spine, person),
            surroundings=surroundings,
            epidural_mm=(rng.uniform(0.2, 1.4), rng.uniform(0.5, 9.0)),
            cord_place=rng.uniform(0.4, 0.62),
            sac_end=count - 4 + rng.uniform(-0.2, 1.8),
            roots=rng.uniform(-1, 1, (14, 3)),
            root_mm=rng.uniform(0.7, 1.5),
            screws=screws,
        )

    def paint(self, plane: Plane) -> None:
        """Paint the column into a plane, from the back of the scene to the front."""
        places = [Place.of(vertebra, plane.x) for vertebra in self.spine.vertebrae]
        self._paint_foramina(plane)
        self._paint_canal(plane)
        for i in range(len(places) - 1):
            paint_disc(plane, places[i], places[i + 1], self.looks[i], self.person)
        for place, look in zip(places, self.looks, strict=True):
            paint_body(plane, place, look, self.person, self.surroundings.beside)
        self._paint_atlas(plane, places[0])
        for place, look in zip(reversed(places), reversed(self.looks), strict=True):
            paint_arch(plane, place, look, self.person)
        for index in self.screws:
            self._paint_screw(plane, places[index])

    def _band(self, plane: Plane, band: Band, tissue: Tissue, structure: int = 0) -> None:
        """Paint between two distances behind the wall wherever `keep` holds, run by run."""
        front, back, keep = band
        edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(int)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start < 2:
                continue
            part = slice(start, stop)
            near = self.canal.uv[part] + self.canal.backwards[part] * front[part, None]
            far = self.canal.uv[part] + self.canal.backwards[part] * back[part, None]
            plane.fill(np.concatenate([near, far[::-1]]), tissue, structure)

    def _paint_foramina(self, plane: Plane) -> None:
        canal = self.canal
        beside = np.abs(plane.x - canal.x)
        keep = (beside > 0.8 * canal.half_width) & (beside < canal.half_width + 9) & (canal.chain > -0.5)
        self._band(plane, (np.full_like(beside, -1.0), 0.75 * canal.depth, keep), Tissue.EPIDURAL)
        for index in range(len(self.spine.vertebrae) - 4):
            at = int(np.searchsorted(canal.chain, index + 0.33))
            if keep[min(at, len(keep) - 1)]:
                centre = canal.uv[at] + canal.backwards[at] * canal.depth[at] * 0.3
                plane.fill(ellipse((centre[0], centre[1]), 2.2, 2.6), Tissue.NERVE)

    def _paint_canal(self, plane: Plane) -> None:
        canal = self.canal
        chord = np.sqrt(np.maximum(0, 1 - ((plane.x - canal.x) / canal.half_width) ** 2))
        keep = chord > 0.12
        labelled = keep & (canal.chain > -0.9)
        front = np.full_like(chord, 0.6)
        back = 0.6 + canal.depth * (0.35 + 0.65 * chord)
        self._band(plane, (front, back, keep), Tissue.CSF)  # above the atlas it is not labelled
        self._band(plane, (front, back, labelled), Tissue.EPIDURAL, CANAL)
        low = np.clip((canal.chain - 18) / 4, 0, 1)
        sac = labelled & (canal.chain < self.sac_end)
        anterior = front + self.epidural_mm[0] + self.epidural_mm[1] * 0.5 * low
        posterior = back - 0.6 - self.epidural_mm[1] * 0.35 * low
        self._band(plane, (anterior, posterior, sac), Tissue.CSF, CANAL)
        self._paint_cauda(plane, front, back, sac)
        round_cord = np.sqrt(np.maximum(0, 1 - ((plane.x - canal.x) / np.maximum(canal.cord[:, 1], 0.1)) ** 2))
        half = canal.cord[:, 0] * round_cord
        middle = 0.6 + canal.depth * self.cord_place
        cord = keep & (half > 0.4)
        self._band(plane, (middle - half, middle + half, cord & (canal.chain <= -0.9)), Tissue.CORD)
        self._band(plane, (middle - half, middle + half, cord & labelled), Tissue.CORD, CORD)

    def _paint_cauda(self, plane: Plane, front: NDArray[np.float64], back: NDArray[np.float64],
                     sac: NDArray[np.bool_]) -> None:  # fmt: skip
        """Roots of the cauda equina, thin dark lines through the sac below the conus."""
        canal = self.canal
        below = sac & (canal.cord[:, 0] < 1.5)
        for place, wave, beside in self.roots:
            where = front + (back - front) * (0.62 + 0.3 * place + 0.06 * np.sin(canal.chain * 1.7 + 6 * wave))
            near = below & (np.abs(plane.x - canal.x - 7 * beside) < 2.2) & (where < back - 1)
            self._band(plane, (where, where + self.root_mm, near), Tissue.NERVE, CANAL)

    def _paint_atlas(self, plane: Plane, axis: Place) -> None:
        """C1: the anterior arch before the dens, the posterior arch behind the canal, lateral masses between.

        No structure in the truth, as in SPINEPS' models unless they declare `has_c1`: it has no body, and with the dens
        it would make a vertebra of its own of which C2 loses its half.
        """
        vertebra, a = axis.vertebra, abs(axis.x)
        depth = CANAL_MM["C2"][0] * self.person.canal
        dens = axis_outline(vertebra)
        top, front = dens[:, 1].min(), dens[dens[:, 1] < dens[:, 1].min() + 8][:, 0].min()
        h = vertebra.size[2]
        paint = (self.person.cortex, Tissue.POSTERIOR_MARROW)
        if a < 9:
            plane.bone(axis(ellipse((front - 4.0 + 0.04 * a * a, top + 6.5), 3.0, 4.8)), *paint)
        if 8 < a < 19:
            mass = [
                (front - 3, top + 3),
                (front + 13, top + 2),
                (front + 13, top + 0.7 * h),
                (front - 3, top + 0.75 * h),
            ]
            plane.bone(axis(mass), *paint)
        if a < 15:
            chord = (1 - min(a / 16, 1.0) ** 2) ** 0.5
            back = vertebra.size[1] / 2 + 4 + depth * (0.3 + 0.75 * chord)
            plane.bone(axis(ellipse((back + 2.6, top + 9.5), 2.8, 4.2)), *paint)

    def _paint_screw(self, plane: Plane, place: Place) -> None:
        """A pedicle screw and the void around it: the signal goes, the anatomy stays."""
        if 10 < abs(place.x) < 22:
            _, depth, height = place.vertebra.size
            points = [(-0.2 * depth, -0.25 * height), (1.9 * depth, -0.1 * height),
                      (1.9 * depth, 0.3 * height), (-0.2 * depth, 0.05 * height)]  # fmt: skip
            plane.void(place(points))
