"""The MR half of docs/accuracy.md: what was measured, how, and how far it is from the aims."""

from collections import Counter
from collections.abc import Iterable, Sequence

from app.accuracy.document import Aim, Making, Picture, markdown_table
from app.accuracy.volumes import WITH_CUT, MeasuredVolume
from app.evaluate_volumes import INSTANCE_HEADINGS, PUBLISHED, WHOLE_HEADINGS, instance_cells, whole_cells
from models.evaluation import (
    BODY,
    CANAL,
    DISC,
    VERTEBRA,
    KindSummary,
    StructureScore,
    VolumesSummary,
    summarise_volumes,
)

WORST = 10
"""How many of the worst volumes are named, so that anyone can draw them again."""

DISCS_AS_ONE = "intervertebral disc"
MEANING = """\
A kind of structure is compared *as a whole*: Dice and average symmetric surface distance (ASSD, in mm, by the voxels'
true sizes) of one mask of all its voxels, averaged over volumes. Vertebrae and discs are also compared *instance by
instance*: partners are given by the assignment with the greatest sum of Dice, whatever their names; one is *found* when
the Dice with its partner is at least 0.5; Dice of *all* counts those not found as 0. Segmentation quality (SQ) is the
mean intersection over union of the instances matched above 0.5, recognition quality (RQ) the F1 score of matching, and
panoptic quality (PQ) their product, over the instances of all volumes together.

Counted are vertebrae whose body is in view and touches no edge of a slice, and discs that touch none; a prediction on
one of the others is no fault. *{with_cut}* counts all that the truth has, down to a few voxels at the border.
C1 is no part of the truth: SPINEPS' models have none unless they declare it (`has_c1`). *Levels are right* when
something was found and every vertebra found is named right; a landmark is in view when C2 counts or the top of the
sacrum can be seen. The *spinal canal* is SPINEPS' structure 61, the canal without its cord, and held to the aim so;
*with cord* it is what SPIDER's references mark."""


def volumes_document(
    making: Making,
    phantoms: Sequence[tuple[int, MeasuredVolume]],
    real: Sequence[MeasuredVolume],
    *,
    pictures: Sequence[Picture] = (),
) -> str:
    """Write the half about MR volumes.

    phantoms: seed and what was measured, in any order. real: the same for real volumes; may be empty.

    Raises:
        ValueError: there are no phantoms to report.
    """
    ordered = [measured for _, measured in sorted(phantoms, key=lambda pair: pair[0])]
    seeds = sorted(seed for seed, _ in phantoms)
    if not seeds:
        raise ValueError("there are no phantoms to report")
    return "\n".join(
        [
            "# MR volumes\n",
            _made(making, ordered, seeds),
            _phantoms(ordered, pictures),
            _real(real),
            f"## What the numbers on MR volumes mean\n\n{MEANING.format(with_cut=WITH_CUT)}\n\n"
            f"{PUBLISHED[0].upper()}{PUBLISHED[1:]}.\n",
        ]
    )


def volume_aims(summary: VolumesSummary) -> tuple[Aim, ...]:
    """What the phantoms are to reach: the paper's results, finding and naming."""
    vertebrae, discs, canal = (summary.kind(kind) for kind in (VERTEBRA, DISCS_AS_ONE, CANAL))
    complete = vertebrae.complete / vertebrae.volumes if vertebrae else None
    instances = vertebrae.instances if vertebrae else None
    return (
        Aim("volumes in which every vertebra is found", 0.99, complete),
        Aim(
            "Dice per vertebra, those not found as 0", 0.929, instances.dice_mean if instances else None, percent=False
        ),
        Aim("Dice of the discs as a whole", 0.96, discs.dice_mean if discs else None, percent=False),
        Aim("Dice of the canal as a whole", 0.947, canal.dice_mean if canal else None, percent=False),
        Aim("volumes with a landmark in view whose levels are all right", 0.97, summary.levels_right_rate),
    )


def _made(making: Making, measured: Sequence[MeasuredVolume], seeds: Sequence[int]) -> str:
    kinds = Counter(one.about for one in measured)
    drawn = "; ".join(f"{count} {about}" for about, count in sorted(kinds.items()))
    return (
        f"Measured on {making.date} with the pack `{making.pack_name}` {making.pack_version} "
        f"(SHA-256 of its weights `{making.pack_digest}`) by\n\n```\n{making.command}\n```\n\n"
        f"{len(seeds)} phantoms, seeds {seeds[0]} to {seeds[-1]}; training uses lower seeds only. Field of view and "
        f"contrast are as the seed draws them: {drawn}. {making.scale}\n"
    )


def _phantoms(measured: Sequence[MeasuredVolume], pictures: Sequence[Picture]) -> str:
    total = summarise_volumes([one.score for one in measured])
    numberings = Counter(one.numbering for one in measured)
    refusals = Counter(one.remark for one in measured if one.remark)
    lines = [
        "## MR phantoms that no training has seen\n",
        markdown_table(("", "aim", "measured", ""), map(Aim.row, volume_aims(total))),
        f"\nLevels are right in {total.landmark_volumes_right} of {total.landmark_volumes} volumes with a landmark in "
        f"view. What the engine says of its numbering: "
        f"{', '.join(f'{name} in {count}' for name, count in numberings.most_common())}."
        + "".join(f" Refused in {count}: {reason}." for reason, count in refusals.most_common())
        + "\n",
        *_tables(total),
        *_by_contrast(measured),
        _worst(measured),
        *(f"![{picture.caption}]({picture.path})\n\n*{picture.caption}*\n" for picture in pictures),
    ]
    return "\n".join(lines)


def _tables(summary: VolumesSummary) -> list[str]:
    whole = [row for row in summary.kinds if row.kind != WITH_CUT]
    instances = [row for row in summary.kinds if row.counts is not None]
    levels = [row for row in summary.kinds if row.kind == VERTEBRA]
    return [
        "### Instances\n",
        _kinds(INSTANCE_HEADINGS, ((row.kind, *instance_cells(row)) for row in instances)),
        "### Structures as a whole\n",
        _kinds(WHOLE_HEADINGS, ((row.kind, *whole_cells(row)) for row in whole)),
        "### Vertebrae by level\n",
        markdown_table(("level", "n", "found", "level right", "Dice, all"), _level_rows(levels)) + "\n",
    ]


def _level_rows(kinds: Iterable[KindSummary]) -> Iterable[tuple[str, ...]]:
    for kind in kinds:
        for row in kind.levels:
            yield (
                row.level,
                str(row.annotated),
                f"{row.identified_rate:.1%}",
                f"{row.level_right_rate:.1%}",
                f"{row.dice_mean:.3f}",
            )


def _by_contrast(measured: Sequence[MeasuredVolume]) -> list[str]:
    """Where the engine is good and where not: each region and contrast apart."""
    rows = []
    for about in sorted({one.about for one in measured}):
        kept = [one for one in measured if one.about == about]
        part = summarise_volumes([one.score for one in kept])
        aims = volume_aims(part)
        seconds = sorted(one.seconds for one in kept)[len(kept) // 2]
        cells = ["–" if aim.measured is None else aim.text(aim.measured) for aim in aims]
        rows.append((about, str(len(kept)), *cells, f"{seconds:.0f}"))
    headings = (
        "region, contrast",
        "volumes",
        "every vertebra found",
        "Dice per vertebra",
        "Dice discs",
        "Dice canal",
        "levels right",
        "median s",
    )
    return ["### By region and contrast\n", markdown_table(headings, rows) + "\n"]


def _worst(measured: Sequence[MeasuredVolume]) -> str:
    ranked = sorted(measured, key=vertebra_dice)[:WORST]
    rows = [
        (
            one.score.volume,
            _found(one, VERTEBRA),
            f"{vertebra_dice(one):.3f}",
            "yes" if _levels_right(one) else "no",
            f"{one.numbering}{f' ({one.remark})' if one.remark else ''}",
        )
        for one in ranked
    ]
    headings = ("region, contrast, seed", "found", "Dice per vertebra", "levels right", "numbering")
    return f"The {len(rows)} worst volumes:\n\n" + markdown_table(headings, rows) + "\n"


def _real(measured: Sequence[MeasuredVolume]) -> str:
    heading = "## Real MR volumes\n"
    if not measured:
        return heading + "\nNot measured: no real volumes were at hand.\n"
    rows = []
    for one in measured:
        kinds = ((BODY, one.score.kind(BODY)), (DISC, one.score.kind(DISC)), (VERTEBRA, one.score.kind(VERTEBRA)))
        cells = [
            f"{_found(one, kind)}, {_mean(score.instances.structures):.3f}" if score else "–" for kind, score in kinds
        ]
        rows.append((one.score.volume, one.about, str(one.vertebrae), *cells, one.remark or one.numbering,
                     f"{one.seconds:.0f}"))  # fmt: skip
    scored = [one.score for one in measured if one.score.kinds]
    aims = _real_aims(summarise_volumes(scored)) if scored else ()
    headings = ("volume", "size", "vertebrae", "bodies found, Dice", "discs found, Dice", "vertebrae found, Dice",
                "numbering", "s")  # fmt: skip
    return "\n".join(
        [
            heading,
            "Volumes of other makers (research use, not part of this project); the weights have seen phantoms only. "
            "References mark bodies or discs, counted from the top and not named, so levels are not judged; a body is "
            "compared with what vertebra and body (structures 49 and 50) have in common. Where there is no reference, "
            "only the number of vertebrae is given.\n",
            markdown_table(("", "aim", "measured", ""), [aim.row() for aim in aims]),
            "",
            markdown_table(headings, rows),
            "",
        ]
    )


def _real_aims(summary: VolumesSummary) -> tuple[Aim, ...]:
    bodies, discs = (row.instances if (row := summary.kind(kind)) else None for kind in (BODY, DISC))
    return (
        Aim("bodies found", 1.0, bodies.identified_rate if bodies else None),
        Aim("Dice per body, those not found as 0", 0.88, bodies.dice_mean if bodies else None, percent=False),
        Aim("Dice per disc, those not found as 0", 0.80, discs.dice_mean if discs else None, percent=False),
    )


def vertebra_dice(measured: MeasuredVolume) -> float:
    """Mean Dice per vertebra that counts, those not found as 0; 1 where none counts."""
    score = measured.score.kind(VERTEBRA)
    return _mean(score.instances.structures) if score and score.instances.structures else 1.0


def _mean(structures: Sequence[StructureScore]) -> float:
    return sum(one.dice for one in structures) / len(structures) if structures else 1.0


def _found(measured: MeasuredVolume, kind: str) -> str:
    score = measured.score.kind(kind)
    structures = score.instances.structures if score else ()
    return f"{sum(one.identified for one in structures)} of {len(structures)}"


def _levels_right(measured: MeasuredVolume) -> bool:
    score = measured.score.kind(VERTEBRA)
    return score is not None and score.instances.levels_right


def _kinds(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table(("structures", *headings), rows) + "\n"
