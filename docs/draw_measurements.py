"""Draw what the reports' measurements are: docs/measurements.svg, docs/measurements_mr.svg.

Run: python docs/draw_measurements.py
"""

from __future__ import annotations

import math
from pathlib import Path

WIDTH, HEIGHT = 1250, 520
BONE, INK, FIT = "#e9dcc3", "#26303a", "#1f6feb"
COLOURS = {"anterior": "#d1495b", "middle": "#2a9d5c", "posterior": "#8e44ad", "angle": "#e07a00"}

Point = tuple[float, float]


def line(a: Point, b: Point, colour: str = INK, *, width: float = 2, dash: str = "", arrows: bool = False) -> str:
    """Return a line, dashed or with arrow heads where wanted."""
    ends = ' marker-start="url(#tip)" marker-end="url(#tip)"' if arrows else ""
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dash}"{ends}/>'
    )


def text(
    at: Point, words: str, colour: str = INK, *, size: int = 17, anchor: str = "middle", bold: bool = False
) -> str:
    """Return a text."""
    weight = "bold" if bold else "normal"
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{words}</text>'
    )


def polygon(points: list[Point], fill: str) -> str:
    """Return a filled outline."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{corners}" fill="{fill}" stroke="{INK}" stroke-width="2"/>'


def arc(centre: Point, radius: float, first: float, last: float, colour: str) -> str:
    """Return an arc between two directions in degrees, clockwise from the right."""
    (x0, y0), (x1, y1) = (along(centre, angle, radius) for angle in (first, last))
    sweep = 1 if last > first else 0
    return (
        f'<path d="M {x0:.1f} {y0:.1f} A {radius} {radius} 0 0 {sweep} {x1:.1f} {y1:.1f}" fill="none" '
        f'stroke="{colour}" stroke-width="2.5"/>'
    )


def along(start: Point, degrees: float, distance: float) -> Point:
    """Return the point at a distance in a direction, clockwise from the right."""
    angle = math.radians(degrees)
    return start[0] + distance * math.cos(angle), start[1] + distance * math.sin(angle)


def middle(a: Point, b: Point) -> Point:
    """Return the point half way."""
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def shifted(point: Point, x: float, y: float = 0) -> Point:
    """Return a point moved by x and y."""
    return point[0] + x, point[1] + y


def crossing(a: Point, a_deg: float, b: Point, b_deg: float) -> Point:
    """Return where two lines meet that are given by point and direction."""
    d, e = along((0, 0), a_deg, 1), along((0, 0), b_deg, 1)
    t = ((b[0] - a[0]) * e[1] - (b[1] - a[1]) * e[0]) / (d[0] * e[1] - d[1] * e[0])
    return a[0] + t * d[0], a[1] + t * d[1]


def one_body() -> list[str]:
    """Draw a body that is lower in front: outline, fitted lines, heights and wedge angle. The patient faces left."""
    ua, up, lp, la = (110.0, 190.0), (350.0, 150.0), (350.0, 380.0), (110.0, 345.0)
    hollow_top, hollow_bottom = shifted(middle(ua, up), 0, 34), shifted(middle(la, lp), 0, -34)
    hollow_front, hollow_back = shifted(middle(ua, la), 30), shifted(middle(up, lp), -26)
    outline = (
        f"M {ua[0]} {ua[1]} Q {hollow_top[0]} {hollow_top[1]} {up[0]} {up[1]} "
        f"Q {hollow_back[0]} {hollow_back[1]} {lp[0]} {lp[1]} "
        f"Q {hollow_bottom[0]} {hollow_bottom[1]} {la[0]} {la[1]} "
        f"Q {hollow_front[0]} {hollow_front[1]} {ua[0]} {ua[1]} Z"
    )
    parts = [f'<path d="{outline}" fill="{BONE}" stroke="{INK}" stroke-width="2.5"/>']
    parts += [line(a, b, FIT, width=2, dash="7 5") for a, b in ((ua, up), (up, lp), (lp, la), (la, ua))]
    parts += [f'<circle cx="{x}" cy="{y}" r="5" fill="{FIT}"/>' for x, y in (ua, up, lp, la)]
    parts += [
        line(shifted(ua, -22), shifted(la, -22), COLOURS["anterior"], width=3, arrows=True),
        text((58, 275), "h", COLOURS["anterior"], size=24, bold=True),
        text((72, 281), "a", COLOURS["anterior"], size=16, bold=True),
        # A parabola between corners whose control point is 34 off reaches half of that.
        line(shifted(middle(ua, up), 0, 17), shifted(middle(la, lp), 0, -17), COLOURS["middle"], width=3, arrows=True),
        text((247, 275), "h", COLOURS["middle"], size=24, bold=True),
        text((264, 281), "m", COLOURS["middle"], size=16, bold=True),
        line(shifted(up, 22), shifted(lp, 22), COLOURS["posterior"], width=3, arrows=True),
        text((395, 275), "h", COLOURS["posterior"], size=24, bold=True),
        text((410, 281), "p", COLOURS["posterior"], size=16, bold=True),
    ]
    upper_deg = math.degrees(math.atan2(ua[1] - up[1], ua[0] - up[0])) % 360
    lower_deg = math.degrees(math.atan2(la[1] - lp[1], la[0] - lp[0])) % 360
    parts += [
        line(lp, along(lp, upper_deg, 200), COLOURS["angle"], width=2, dash="3 4"),
        arc(lp, 150, upper_deg, lower_deg, COLOURS["angle"]),
        text(along(lp, (upper_deg + lower_deg) / 2, 172), "α", COLOURS["angle"], size=24, bold=True),
        text((230, 60), "One body", size=21, bold=True),
        text((230, 86), "mask, fitted lines (dashed) and corners"),
        text((70, 440), "front", size=16),
        text((390, 440), "back", size=16),
        text((230, 475), "α: wedge angle, positive when lower in front", COLOURS["angle"], size=16),
        text((230, 498), "(dotted: parallel to the upper end-plate)", COLOURS["angle"], size=14),
    ]
    return parts


def curve(left: float, names: list[str], plates: tuple[str, str], title: str) -> list[str]:
    """Draw a lordotic row of bodies and the angle between two of its end-plates. The patient faces left."""
    count, angle = len(names), 40.0
    tilts = [angle / 2 - angle * i / (count - 1) for i in range(count)]
    radius, wide, high = 330.0, 78.0, 200.0 / (count - 1) * 0.85
    hub = (left + 40 + radius, 268.0)
    parts, ends = [text((left + 150, 60), title, size=21, bold=True)], []
    for i, (name, tilt) in enumerate(zip(names, tilts, strict=True)):
        centre = along(hub, 180 + tilt, radius)
        corners = [
            along(along(centre, tilt, u * wide / 2), tilt + 90, v * high / 2)
            for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        parts.append(polygon(corners, BONE))
        parts.append(text(shifted(centre, 0, 6), name, size=15))
        if i in (0, count - 1):
            a, b = corners[:2] if plates[0 if i == 0 else 1] == "upper" else (corners[3], corners[2])
            ends.append((a, b, tilt))
    meet = crossing(ends[0][0], ends[0][2], ends[1][0], ends[1][2])
    for a, _, tilt in ends:
        parts.append(line(along(a, tilt, -25), meet, COLOURS["angle"], width=2.5))
    parts.append(arc(meet, 90, 180 + ends[1][2], 180 + ends[0][2], COLOURS["angle"]))
    parts.append(text(shifted(meet, -112, 8), "θ", COLOURS["angle"], size=24, bold=True))
    which = f"{plates[0]} end-plate of {names[0]}, {plates[1]} end-plate of {names[-1]}"
    parts.append(text((left + 170, 475), which, COLOURS["angle"], size=16))
    parts.append(text((left + 170, 498), "positive: lordosis, negative: kyphosis", COLOURS["angle"], size=14))
    return parts


def two_bodies() -> list[str]:
    """Draw a body that has slipped forwards on the next, the disc between, and the canal. The patient faces left."""
    upper = [(110.0, 130.0), (330.0, 130.0), (330.0, 250.0), (110.0, 250.0)]
    lower = [(150.0, 310.0), (370.0, 310.0), (370.0, 430.0), (150.0, 430.0)]
    disc = [upper[3], upper[2], lower[1], lower[0]]
    canal = [(405.0, 120.0), (485.0, 120.0), (525.0, 440.0), (445.0, 440.0)]
    parts = [polygon(upper, BONE), polygon(lower, BONE), polygon(disc, "#b9d4e6"), polygon(canal, "#f7c9cf")]
    parts += [
        line(upper[2], shifted(upper[2], 0, 60), COLOURS["angle"], dash="5 4"),
        line((332, 292), (368, 292), COLOURS["angle"], width=3, arrows=True),
        text((350, 284), "o", COLOURS["angle"], size=22, bold=True),
        line((150, 252), (150, 308), COLOURS["anterior"], width=3, arrows=True),
        text((132, 288), "f", COLOURS["anterior"], size=22, bold=True),
        line((318, 252), (318, 308), COLOURS["posterior"], width=3, arrows=True),
        text((302, 288), "b", COLOURS["posterior"], size=22, bold=True),
        line((412, 186), (492, 178), COLOURS["middle"], width=3, arrows=True),
        text((452, 168), "d", COLOURS["middle"], size=22, bold=True),
        text((300, 60), "Two vertebrae and the canal, mid-sagittal section", size=21, bold=True),
        text((300, 480), "o: listhesis offset along the lower end-plate, positive forwards", COLOURS["angle"], size=16),
        text((300, 503), "disc height: mean of f and b; d: canal diameter, across its course", size=16),
    ]
    return parts


def canal_area() -> list[str]:
    """Draw the canal across its course, a chord for each slice."""
    centre, wide, high = (860.0, 270.0), 170.0, 105.0
    parts = [
        f'<ellipse cx="{centre[0]}" cy="{centre[1]}" rx="{wide}" ry="{high}" fill="#f7c9cf" stroke="{INK}" '
        'stroke-width="2"/>'
    ]
    for step in (-3, -2, -1, 0, 1, 2, 3):
        x = centre[0] + step * 48
        half = high * math.sqrt(1 - ((x - centre[0]) / wide) ** 2)
        colour = COLOURS["middle"] if step == 0 else FIT
        parts.append(line((x, centre[1] - half), (x, centre[1] + half), colour, width=3, arrows=step == 0))
    parts += [
        text(shifted(centre, 14, 8), "d", COLOURS["middle"], size=22, bold=True),
        text((860, 60), "The canal across its course", size=21, bold=True),
        text((860, 480), "area: the chords of all slices, each as wide as the slices lie apart", size=16),
        text((860, 503), "d: the chord at the middle", COLOURS["middle"], size=16),
    ]
    return parts


def radiograph() -> list[str]:
    """Draw what is measured on radiographs, and on MR volumes too."""
    parts = one_body()
    parts += curve(470, ["C2", "C3", "C4", "C5", "C6", "C7"], ("lower", "lower"), "C2–C7 lordosis")
    parts += curve(850, ["L1", "L2", "L3", "L4", "L5", "S1"], ("upper", "upper"), "L1–S1 lordosis")
    return parts


def drawing(parts: list[str]) -> str:
    """Return a whole drawing."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="5" markerHeight="5" '
        'orient="auto-start-reverse"><path d="M 0 0 L 10 5 L 0 10 z" fill="context-stroke"/></marker></defs>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("measurements.svg").write_text(drawing(radiograph()), encoding="utf-8")
    of_volumes = drawing([*two_bodies(), *canal_area()])
    Path(__file__).with_name("measurements_mr.svg").write_text(of_volumes, encoding="utf-8")
