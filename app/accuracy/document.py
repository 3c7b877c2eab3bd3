"""The radiographs' half of docs/accuracy.md: what was measured, how, and how far it is from the aims."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.accuracy.measure import Held, Measured
from app.evaluate import PUBLISHED, row_cells
from models.evaluation import ImageScore, LevelSummary, Summary, summarise

WORST = 10
"""How many of the worst images are named, so that anyone can draw them again."""

REAL_RADIOGRAPHS = (
    "lateral cervical radiographs from the Cervical Spine X-ray Atlas (CSXA; research use, not part of this project), "
    "as the evaluation of the published SpineFM shows them. The weights have seen phantoms only. The references are "
    "quadrilaterals through the four corners of a body: they lack its waists, and its rims where it has some."
)
MEANING = """\
Every annotated vertebra gets as partner the segmented structure that the assignment with the greatest sum of Dice
gives it; names play no part in that. It is *identified* when the Dice with its partner is at least 0.5, and its
*level is right* when the partner carries the same name too. The *levels of an image are right* when something was
identified and everything identified is named right. Annotated are C2 to C7 in cervical and L1 to S1 in lumbar
phantoms, each wholly in view. ASSD is the average symmetric surface distance, HD95 the larger of the two directed
95th percentiles, both over the identified.

SpineFM's published results, on other images and with other weights, for comparison only:"""


@dataclass(frozen=True)
class Aim:
    """A number to reach, 0–1, and what the phantoms gave."""

    what: str
    aim: float
    measured: float | None
    percent: bool = True

    @property
    def verdict(self) -> str:
        """`reached`, or by how much not."""
        if self.measured is None:
            return "not measured"
        gap = self.aim - self.measured
        if gap <= 0:
            return "reached"
        return f"**short by {gap * 100:.1f} points**" if self.percent else f"**short by {gap:.3f}**"

    def row(self) -> tuple[str, ...]:
        """The cells of a Markdown table."""
        return (
            self.what,
            self.text(self.aim),
            "–" if self.measured is None else self.text(self.measured),
            self.verdict,
        )

    def text(self, value: float) -> str:
        """A number as the table has it."""
        return f"{value * 100:.1f} %" if self.percent else f"{value:.3f}"


@dataclass(frozen=True)
class Making:
    """How the document came about.

    date: of the measurement, as given. scale: where the engine's scale came from, in words.
    command: what makes the document again, without the paths of one machine.
    """

    date: str
    command: str
    pack_name: str
    pack_version: str
    pack_digest: str
    scale: str


@dataclass(frozen=True)
class Picture:
    """A picture for the document: its place below docs/, and what it shows."""

    path: str
    caption: str


def document(
    making: Making,
    phantoms: Sequence[tuple[Held, Measured]],
    radiographs: Sequence[Measured],
    *,
    pictures: Sequence[Picture] = (),
) -> str:
    """Write the half about radiographs.

    phantoms: what was measured on each, in any order. radiographs: the same for real images; may be empty.

    Raises:
        ValueError: there are no phantoms to report.
    """
    ordered = sorted(phantoms, key=lambda pair: pair[0].seed)
    parts = [
        "# Radiographs\n",
        _made(making, [held for held, _ in ordered]),
        _phantoms(ordered, pictures),
        _radiographs(radiographs),
        _meaning(),
    ]
    return "\n".join(parts)


def aims(summary: Summary) -> tuple[Aim, ...]:
    """What the phantoms are to reach: the paper's results on NHANES II, and naming."""
    return (
        Aim("vertebrae identified", 0.978, summary.total.identified_rate),
        Aim("mean Dice, those not found as 0", 0.942, summary.total.dice_mean, percent=False),
        Aim("images with a landmark in view whose levels are all right", 0.97, summary.levels_right_rate),
    )


def _made(making: Making, held: Sequence[Held]) -> str:
    counts = Counter(phantom.region for phantom in held)
    seeds = f"{held[0].seed} to {held[-1].seed}" if held else "none"
    images = " and ".join(f"{count} {region}" for region, count in counts.items())
    return (
        f"Measured on {making.date} with the pack `{making.pack_name}` {making.pack_version} "
        f"(SHA-256 of its weights `{making.pack_digest}`) by\n\n```\n{making.command}\n```\n\n"
        f"Phantoms: {images}, seeds {seeds}; training uses lower seeds only. {making.scale} "
        f"All numbers of this half are written by that command.\n"
    )


def _phantoms(measured: Sequence[tuple[Held, Measured]], pictures: Sequence[Picture]) -> str:
    scores = [one.score for _, one in measured]
    total = summarise(scores)
    lines = [
        "## Phantoms that no training has seen\n",
        markdown_table(("", "aim", "measured", ""), map(Aim.row, aims(total))),
    ]
    lines.append(
        f"\nLevels are right in {total.landmark_images_right} of {total.landmark_images} images with a landmark "
        f"(C2, S1) wholly in view. Over the identified alone, the mean Dice is "
        f"{_optional(total.total.dice_identified_mean)}.\n"
    )
    for region in sorted({held.region for held, _ in measured}):
        part = summarise([one.score for held, one in measured if held.region == region])
        lines += [f"### {region.capitalize()}, {part.images} images\n", _level_table(part)]
    lines += [_numbering(one for _, one in measured), _worst(scores)]
    lines += [f"![{picture.caption}]({picture.path})\n\n*{picture.caption}*\n" for picture in pictures]
    return "\n".join(lines)


def _numbering(measured: Iterable[Measured]) -> str:
    kept = list(measured)
    counts = Counter(one.numbering for one in kept)
    text = ", ".join(f"{name} in {count}" for name, count in counts.most_common())
    refusals = Counter(one.remark for one in kept if one.remark)
    why = "".join(f" Refused in {count}: {reason}." for reason, count in refusals.most_common())
    return f"What the engine says of its numbering: {text}.{why}\n"


def _worst(scores: Sequence[ImageScore]) -> str:
    ranked = sorted((score for score in scores if score.structures), key=mean_dice)[:WORST]
    rows = [
        (
            score.image,
            f"{sum(one.identified for one in score.structures)} of {len(score.structures)}",
            f"{mean_dice(score):.3f}",
            "yes" if score.levels_right else "no",
        )
        for score in ranked
    ]
    return (
        f"The {len(rows)} worst images:\n\n"
        + markdown_table(("region, seed", "identified", "Dice", "levels right"), rows)
        + "\n"
    )


def _radiographs(measured: Sequence[Measured]) -> str:
    heading = "## Real radiographs\n"
    if not measured:
        return heading + "\nNot measured: no real radiographs with references were at hand.\n"
    scores = [one.score for one in measured]
    levels = [row.level for row in summarise(scores).levels]
    rows = []
    for one in measured:
        found = {structure.level: structure for structure in one.score.structures}
        rows.append(
            (
                one.score.image,
                f"{sum(s.identified for s in found.values())} of {len(found)}",
                f"{sum(s.level_right for s in found.values())} of {len(found)}",
                f"{mean_dice(one.score):.3f}",
                *(f"{found[level].dice:.3f}" if level in found else "–" for level in levels),
                one.numbering + (f" ({one.remark})" if one.remark else ""),
            )
        )
    total = summarise(scores).total
    every = Aim("bodies found and named", 1.0, total.level_right_rate)
    overlap = Aim("mean Dice, those not found as 0", 0.88, total.dice_mean, percent=False)
    return "\n".join(
        [
            heading,
            f"{len(measured)} {REAL_RADIOGRAPHS}\n",
            markdown_table(("", "aim", "measured", ""), [every.row(), overlap.row()]),
            "",
            markdown_table(("image", "found", "named", "Dice", *levels, "numbering"), rows),
            "",
        ]
    )


def _meaning() -> str:
    published = "; ".join(
        f"{row.data_set}: {row.identified_rate * 100:.1f} % identified, mean Dice {row.dice_mean:.3f}"
        for row in PUBLISHED
    )
    return f"## What the numbers mean\n\n{MEANING} {published}.\n"


def _level_table(summary: Summary) -> str:
    unit = summary.unit
    headings = (
        "level",
        "n",
        "identified",
        "level right",
        "Dice ± sd, all",
        "Dice, identified",
        f"ASSD {unit}",
        f"HD95 {unit}",
    )
    rows: list[LevelSummary] = [*summary.levels, summary.total]
    return markdown_table(headings, ((row.level, *row_cells(row)) for row in rows)) + "\n"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def mean_dice(score: ImageScore) -> float:
    """Mean over the annotated structures of an image, those not found as 0."""
    return sum(one.dice for one in score.structures) / len(score.structures)


def _optional(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
