"""A vertebra, the disc below it and its arch in a sagittal plane of an MR phantom.

Structures and numbers are SPINEPS': 41 arch, 42 spinous process, 43/44 costal process left/right, 45/46 superior and
47/48 inferior articular process left/right, 49 body, 62 end-plate, 100 disc, 26 sacrum; vertebra v, its disc 100 + v,
its end-plates 200 + v. x runs from the patient's right to the left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phantom.anatomy import Vertebra
from models.phantom.mr_plane import Plane
from models.phantom.mr_tissues import Tissue
from models.phantom.solids import AXIS_LOWER, Outline, axis_outline, body_outline, chaikin, ellipse

SACRUM = 26
VERTEBRA_NUMBER: dict[str, int] = {
    **{f"C{i}": i for i in range(1, 8)},
    **{f"T{i}": 7 + i for i in range(1, 13)},
    **{f"L{i}": 19 + i for i in range(1, 7)},
    "T13": 28,
    **{f"S{i}": SACRUM for i in range(1, 5)},
}
# Antero-posterior depth and half the width of the canal, mm (Busscher 2010; Panjabi 1991, 1992, rounded).
CANAL_MM: dict[str, tuple[float, float]] = {
    "C2": (15.5, 12.0), "C3": (14.0, 12.0), "C4": (13.8, 12.3), "C5": (13.8, 12.6), "C6": (14.0, 12.8),
    "C7": (14.2, 12.2), "T1": (14.8, 10.5), "T2": (15.0, 9.5),
    **{f"T{i}": (15.3, 8.8) for i in range(3, 11)}, "T11": (15.6, 9.3), "T12": (16.2, 10.8), "T13": (16.2, 11.0),
    "L1": (16.8, 11.4), "L2": (16.4, 11.6), "L3": (16.2, 11.9), "L4": (16.6, 12.3), "L5": (17.0, 13.2),
    "L6": (17.0, 13.6), "S1": (14.0, 14.0), "S2": (9.0, 10.0), "S3": (5.5, 7.0), "S4": (3.0, 5.0),
}  # fmt: skip
LEAST_END_PLATE_MM = 0.9  # a voxel of the labels that networks learn from
LUMBAR_SPINOUS = ((0, -0.05), (0.9, 0.02), (1.0, 0.3), (0.88, 0.72), (0, 0.5))
RIGHT_LEFT = {"costal": (44, 43), "superior": (46, 45), "inferior": (48, 47)}


@dataclass(frozen=True)
class Person:
    """What all vertebrae of one person have in common; lengths in mm, the rest fractions.

    endplate: thickness of the end-plates as a fraction of a body's depth: an image hardly shows where a dark end-plate
        ends and a dark disc begins, so people must not differ there by more than an annotator could know.
    """

    cortex: float
    endplate: float
    canal: float
    arch_thickness: float
    spinous_length: float
    spinous_half_width: float
    droop: float
    pillar_depth: float
    facet_gap: float
    waist: float
    annulus_share: float

    @staticmethod
    def draw(rng: np.random.Generator, stature: float) -> "Person":
        """Draw a person of a stature."""
        return Person(
            cortex=rng.uniform(0.4, 1.0),
            endplate=rng.uniform(0.03, 0.042),
            canal=stature**0.5 * rng.uniform(0.84, 1.2),
            arch_thickness=rng.uniform(4.5, 7.5) * stature,
            spinous_length=stature * rng.uniform(0.75, 1.2),
            spinous_half_width=rng.uniform(2.4, 4.6) * stature,
            droop=rng.uniform(0.1, 0.55),
            pillar_depth=rng.uniform(8, 12.5) * stature,
            facet_gap=rng.uniform(0.3, 1.6),
            waist=rng.uniform(0.03, 0.3),
            annulus_share=rng.uniform(0.2, 0.5),
        )

    def end_plate_mm(self, vertebra: Vertebra) -> float:
        """How thick a vertebra's end-plates are, half of it in the body and half in the disc."""
        return max(LEAST_END_PLATE_MM, self.endplate * vertebra.size[1])


@dataclass(frozen=True)
class Look:
    """What is one vertebra's own; drawn once, so that all planes cut the same vertebra."""

    bulge: tuple[float, float]
    nucleus: bool
    cleft: bool
    nucleus_size: float
    jitter: NDArray[np.float64]
    marrow_lesion: tuple[float, float, float, float] | None
    basivertebral: float
    waist: float

    @staticmethod
    def draw(rng: np.random.Generator, vertebra: Vertebra, person: Person, worn: float) -> "Look":
        """Draw the look of a vertebra; `worn` is how likely its disc is dark."""
        _, depth, height = vertebra.size
        lesion = None
        if rng.random() < 0.06:
            lesion = (rng.normal(0, 0.2) * depth, rng.normal(0, 0.2) * height, rng.normal(0, 6), rng.uniform(2.5, 9))
        herniated = rng.random() < 0.15
        return Look(
            bulge=(rng.uniform(-0.8, 2.0), rng.uniform(1.5, 5.0) if herniated else rng.uniform(-0.8, 1.3)),
            nucleus=rng.random() > worn,
            cleft=rng.random() < 0.4,
            nucleus_size=rng.uniform(0.55, 0.85),
            jitter=np.exp(rng.normal(0, 0.1, 8)),
            marrow_lesion=lesion,
            basivertebral=rng.uniform(0, 2.4),
            waist=float(np.clip(person.waist * np.exp(rng.normal(0, 0.2)), 0.02, 0.4)),
        )


@dataclass(frozen=True)
class Place:
    """A vertebra cut by a plane: `x` mm in its own frame, and how its frame goes to the phantom's."""

    vertebra: Vertebra
    x: float

    @staticmethod
    def of(vertebra: Vertebra, plane_x: float) -> "Place":
        """Cut a vertebra by the plane at `plane_x`."""
        return Place(vertebra, plane_x - float(vertebra.centre[0]))

    def __call__(self, uv: Outline | list[tuple[float, float]]) -> Outline:
        """(n, 2) in the vertebra's own frame → phantom mm in this plane."""
        return self.vertebra.to_phantom(self.x, np.asarray(uv, float))[1]

    @property
    def side(self) -> float:
        """Distance from the middle as a fraction of half the body's width."""
        return abs(2 * self.x / self.vertebra.size[0])


def body_section(place: Place) -> Outline | None:
    """The body's outline in its own frame in this plane, or None beside it."""
    vertebra, side = place.vertebra, place.side
    if side >= 1:
        return None
    if vertebra.level == "C2" and abs(place.x) < 5.2:
        return axis_outline(vertebra)
    outline = body_outline(vertebra.size, vertebra.shape, side)
    return outline * [0.95, 1.0] if vertebra.level == "C2" else outline


def paint_disc(plane: Plane, above: Place, below: Place, look: Look, person: Person) -> None:
    """Paint the disc between two vertebrae: annulus, nucleus, a bulge in front and behind."""
    upper, lower = body_section(above), body_section(below)
    if upper is None or lower is None or max(above.side, below.side) > 0.97:
        return
    if above.vertebra.level == "C2" and abs(above.x) < 5.2:
        upper = body_outline(above.vertebra.size, above.vertebra.shape, above.side)
    number = VERTEBRA_NUMBER[above.vertebra.level]
    top, bottom = above(upper[16:27]), below(lower[0:11])
    backwards = (top[0] - top[-1]) / (np.linalg.norm(top[0] - top[-1]) + 1e-6)
    front = (top[-1] + bottom[0]) / 2 - backwards * max(look.bulge[0], -0.5)
    back = (top[0] + bottom[-1]) / 2 + backwards * max(look.bulge[1], -0.5)
    # Far enough into both bodies, which are painted over it, that their hollow end-plates leave no gap.
    over = above(upper[[26, 16]] * [0.7, 1.0] - [0.0, 0.2 * above.vertebra.size[2]])
    under = below(lower[[0, 10]] * [0.7, 1.0] + [0.0, 0.2 * below.vertebra.size[2]])
    outline = np.concatenate([over[:1], [top[-1]], [front], [bottom[0]], under, [bottom[-1]], [back], [top[0]],
                              over[1:]])  # fmt: skip
    if above.vertebra.fused_below:
        plane.bone(outline, person.cortex, Tissue.MARROW, 100, 100 + number)
        return
    sacral = above.vertebra.level[0] == "S"
    structure, vertebra = (SACRUM, SACRUM) if sacral else (100, 100 + number)
    plane.fill(outline, Tissue.ANNULUS, structure, vertebra)
    if look.nucleus:
        centre = (top.mean(0) + bottom.mean(0)) / 2
        half_u = float(np.linalg.norm(top[0] - top[-1])) / 2 * look.nucleus_size * (1 - above.side**2) ** 0.5
        half_v = float(np.linalg.norm(top.mean(0) - bottom.mean(0))) / 2 + 1.0
        turn = float(np.arctan2(backwards[1], backwards[0]))
        plane.fill(ellipse(tuple(centre), half_u, half_v, turn), Tissue.NUCLEUS, structure, vertebra)
        if look.cleft:
            ends = np.stack([centre - backwards * half_u * 0.7, centre + backwards * half_u * 0.7])
            plane.stroke(ends, 0.8, Tissue.ANNULUS, structure, vertebra)


def paint_body(plane: Plane, place: Place, look: Look, person: Person, beside: Tissue) -> None:
    """Paint the body with its end-plates; `beside` fills the waist where the plane passes beside it."""
    outline = body_section(place)
    if outline is None:
        return
    vertebra = place.vertebra
    sacral = vertebra.level[0] == "S"
    number = VERTEBRA_NUMBER[vertebra.level]
    structure = SACRUM if sacral else 49
    marrow = Tissue.SACRAL_MARROW if sacral else Tissue.MARROW
    plane.bone(place(outline), person.cortex, marrow, structure, number)
    _, depth, height = vertebra.size
    dens = vertebra.level == "C2" and abs(place.x) < 5.2
    if look.marrow_lesion is not None:
        u, v, x, radius = look.marrow_lesion
        reach = radius**2 - (place.x - x) ** 2
        if reach > 1 and radius < 0.42 * height:
            plane.fill(place(ellipse((u, v), reach**0.5, reach**0.5)), Tissue.LESION, structure, number)
    if abs(place.x) < 5 and not sacral and not dens and look.basivertebral > 0.3:
        half = look.basivertebral * height / 40
        vein = [
            (0.02 * depth, -half / 2),
            (depth * 0.47, -1.6 * half),
            (depth * 0.47, 1.6 * half),
            (0.02 * depth, half / 2),
        ]
        plane.fill(place(vein), Tissue.BASIVERTEBRAL, structure, number)
    if not sacral and not dens:
        _carve_waist(plane, place, look, beside)
    if place.side > 0.93 or sacral:
        if vertebra.level == "S1":
            plane.stroke(place(outline[0:11]), person.end_plate_mm(vertebra), Tissue.CORTEX, SACRUM, SACRUM)
        return
    plates = [outline[:AXIS_LOWER] if dens else outline[16:27]]
    if vertebra.level != "C2":
        plates.append(outline[0:11])
    for plate in plates:
        plane.stroke(place(plate), person.end_plate_mm(vertebra), Tissue.CORTEX, 62, 200 + number)


def _carve_waist(plane: Plane, place: Place, look: Look, beside: Tissue) -> None:
    """Where the plane passes beside the middle of the body, which is narrower than its ends, there is no body."""
    over = (1 - place.side) / look.waist
    if over >= 1 or place.side < 1e-3:
        return
    _, depth, height = place.vertebra.size
    half = 0.46 * height * (1 - over) ** 0.5
    plane.fill(place([(-0.6 * depth, -half), (0.6 * depth, -half), (0.6 * depth, half), (-0.6 * depth, half)]), beside)


def paint_arch(plane: Plane, place: Place, look: Look, person: Person) -> None:
    """Paint what lies behind the body in this plane: pedicle, lamina, articular, costal and spinous process."""
    level = place.vertebra.level
    if level[0] == "S":
        _paint_sacral_arch(plane, place, look, person)
        return
    depth, half_width = CANAL_MM[level]
    canal = _Canal(depth * person.canal, half_width * person.canal, place.vertebra.size[1] / 2)
    paint = _ArchPainter(plane, place, look, person, canal)
    paint.costal()
    paint.pedicle()
    paint.articular()
    paint.lamina()
    paint.spinous()


@dataclass(frozen=True)
class _Canal:
    depth: float
    half_width: float
    wall: float


@dataclass(frozen=True)
class _ArchPainter:
    """Paints one arch in one plane. Lengths in mm; `s` is the height of the body and the disc below."""

    plane: Plane
    place: Place
    look: Look
    person: Person
    canal: _Canal

    @property
    def _s(self) -> float:
        return self.place.vertebra.size[2] + self.place.vertebra.disc_below

    @property
    def _region(self) -> str:
        return self.place.vertebra.level[0]

    def _bone(self, outline: list[tuple[float, float]] | Outline, structure: int) -> None:
        number = VERTEBRA_NUMBER[self.place.vertebra.level]
        placed = self.place(chaikin(np.asarray(outline, float), 2))
        self.plane.bone(placed, self.person.cortex, Tissue.POSTERIOR_MARROW, structure, number)

    def _sided(self, part: str) -> int:
        return RIGHT_LEFT[part][int(self.place.x > 0)]

    def pedicle(self) -> None:
        """From the upper half of the body's back to the articular pillar."""
        reach = abs(abs(self.place.x) - (self.canal.half_width + 3.6 * self.look.jitter[0]))
        half_width = 5.2 if self._region == "L" else 3.8
        if reach >= half_width:
            return
        h = self.place.vertebra.size[2]
        share = 0.27 if self._region != "C" else 0.24
        half = h * share * self.look.jitter[1] * (1 - (reach / half_width) ** 2) ** 0.5
        if half < 0.8:
            return
        middle = -0.2 * h if self._region != "C" else -0.05 * h
        wall = self.canal.wall - 1.0
        back = self.canal.wall + 0.65 * self.canal.depth
        self._bone([(wall, middle - half), (back, middle - half), (back, middle + half), (wall, middle + half)], 41)

    def articular(self) -> None:
        """The pillar: superior and inferior articular processes with the isthmus (arch) between them."""
        a = abs(self.place.x)
        k = self.canal.half_width
        low, high = (k - 1.0, k + 9.5) if self._region != "C" else (k - 3.0, k + 6.0)
        if not low < a < high:
            return
        s, thick = self._s, self.person.pillar_depth * (0.8 if self._region != "L" else 1.0) * self.look.jitter[2]
        front = self.canal.wall + 0.42 * self.canal.depth
        lean = {"C": 0.45, "T": 0.12, "L": 0.2}[self._region] * thick
        upper, lower = {"C": (-0.42, 0.52), "T": (-0.6, 0.5), "L": (-0.66, 0.62)}[self._region]
        gap = self.person.facet_gap
        half = 0.5 * thick
        superior = [(front, upper * s), (front + half - gap, upper * s + 0.15 * s),
                    (front + half + lean * 0.5, -0.08 * s), (front, -0.02 * s)]  # fmt: skip
        inferior = [(front + half * 0.7 + lean * 0.3, 0.0), (front + thick + lean, 0.05 * s),
                    (front + thick + lean, lower * s), (front + half + lean + gap, lower * s)]  # fmt: skip
        isthmus = [(front + 0.1 * thick, -0.18 * s), (front + 0.9 * thick, -0.12 * s), (front + thick + lean, 0.12 * s),
                   (front + 0.5 * thick, 0.14 * s)]  # fmt: skip
        self._bone(inferior, self._sided("inferior"))
        self._bone(superior, self._sided("superior"))
        self._bone(isthmus, 41)

    def lamina(self) -> None:
        """The roof of the canal, sloping backwards and down from the pillar to the midline."""
        a, k = abs(self.place.x), self.canal.half_width
        if a > k + 1.5:
            return
        s, thick = self._s, self.person.arch_thickness * (0.75 if self._region == "C" else 1.0) * self.look.jitter[3]
        chord = (1 - min(a / k, 1.0) ** 2) ** 0.5
        front = self.canal.wall + 0.6 + self.canal.depth * (0.35 + 0.65 * chord)
        top, bottom = (-0.12 * s, 0.34 * s) if self._region != "L" else (-0.1 * s, 0.42 * s)
        slope = {"C": 0.35, "T": 0.18, "L": 0.16}[self._region] * s * 0.5
        self._bone(
            [(front, top), (front + 0.7 * thick, top), (front + slope + thick, bottom), (front + slope, bottom)], 41
        )

    def spinous(self) -> None:
        """The spinous process: a block in the lumbar spine, slanting in the thoracic, short in the cervical."""
        level, half_width = self.place.vertebra.level, self.person.spinous_half_width
        bifid = level in ("C3", "C4", "C5", "C6")
        if abs(self.place.x) > half_width * (1.3 if level == "C2" else 1.0):
            return
        s = self._s
        root = self.canal.wall + self.canal.depth + 0.75 * self.person.arch_thickness
        length = {"C": 19.0, "T": 31.0, "L": 28.0}[self._region] * self.person.spinous_length * self.look.jitter[4]
        length *= 1.55 if level in ("C7", "C2") else 0.8 if bifid else 1.0
        if self._region == "L" or level in ("T11", "T12", "T13"):
            drop = 0.25 * self.person.droop * length
            outline = [(root + u * length, v * s * self.look.jitter[5] + u * drop) for u, v in LUMBAR_SPINOUS]
        else:
            slant = (0.25 if self._region == "C" else 0.75) + 0.6 * self.person.droop
            half = (0.2 if self._region == "T" else 0.24) * s * self.look.jitter[5] * (1.5 if level == "C2" else 1.0)
            du, dv = length * np.cos(slant), length * np.sin(slant)
            v0 = 0.12 * s
            outline = [(root, v0 - half), (root + du, v0 + dv - 0.75 * half), (root + du, v0 + dv + 0.75 * half),
                       (root, v0 + half)]  # fmt: skip
        self._bone(outline, 42)

    def costal(self) -> None:
        """The costal (transverse) process in its cut: an oval beside the pillar, in the neck beside the body."""
        a, k, h = abs(self.place.x), self.canal.half_width, self.place.vertebra.size[2]
        if self._region == "C":
            inner, outer, u = k - 1.0, k + 10.0, self.canal.wall - 1.0
        else:
            inner, outer = k + 7.5, k + {"T": 24.0, "L": 31.0}[self._region] * self.look.jitter[6]
            u = self.canal.wall + (0.55 if self._region == "L" else 0.9) * self.canal.depth
        if not inner < a < outer:
            return
        taper = 1 - 0.35 * (a - inner) / (outer - inner)
        half_u, half_v = {"C": (4.0, 0.24 * h), "T": (5.0, 0.24 * h), "L": (3.8, 0.23 * h)}[self._region]
        back = 0.22 * (a - inner)
        v = -0.12 * h if self._region != "C" else 0.0
        self._bone(
            ellipse((u + back, v), half_u * taper * self.look.jitter[7], half_v * taper, 0.2), self._sided("costal")
        )


def _paint_sacral_arch(plane: Plane, place: Place, look: Look, person: Person) -> None:
    """The sacrum's back wall over its canal with the median crest, and the wings beside its bodies."""
    vertebra = place.vertebra
    width, depth, height = vertebra.size
    s = height + vertebra.disc_below
    canal_depth, half_width = CANAL_MM[vertebra.level]
    canal_depth, half_width = canal_depth * person.canal, half_width * person.canal
    wall = depth / 2
    wings = {"S1": 0.55, "S2": 0.45, "S3": 0.4, "S4": 0.3}[vertebra.level] * width
    a = abs(place.x)
    paint = (person.cortex, Tissue.SACRAL_MARROW, SACRUM, SACRUM)
    if width / 2 * 0.92 < a < width / 2 + wings:
        out = (a - width / 2) / wings
        top = -0.45 * height * (1 - 0.7 * max(out, 0)) if vertebra.level == "S1" else -0.52 * s
        front, back = -0.45 * depth * (1 - 0.7 * max(out, 0)), wall + 0.8 * canal_depth + 4
        plane.bone(place([(front, top), (back, top * 0.8), (back, 0.56 * s), (front, 0.56 * s)]), *paint)
    if a < half_width + 8 and vertebra.level != "S4":
        chord = (1 - min(a / half_width, 1.0) ** 2) ** 0.5
        front = wall + 0.6 + canal_depth * (0.35 + 0.65 * chord)
        thick = person.arch_thickness * look.jitter[3] * (1.8 if a < person.spinous_half_width else 0.9)
        top = -0.2 * s if vertebra.level == "S1" else -0.53 * s
        plane.bone(place([(front, top), (front + thick, top), (front + thick, 0.5 * s), (front, 0.55 * s)]), *paint)
