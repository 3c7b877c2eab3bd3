"""Spondyl's SPINEPS against the original with the same pack: equal answers, less time, less memory.

::

    python -m tests.benchmarks.spineps_against_original --original PYTHON [--pack FOLDER] [--real FOLDER] [--write]
                                                        [--old-form]

PYTHON is the interpreter of an environment with the package `spineps`, which Spondyl itself neither needs nor imports.
With --old-form the pack is published with plans of nnU-Net 2.2's form, as SPINEPS' authors published theirs, and both
engines take it from that folder, ours by `models import`. Each run is a process of its own, with two threads; loading
the pack is measured apart. Without --write the tables are only shown; with it they go into docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from models.contracts import SpineVolume
from models.packs import load_pack
from models.phantom.mr import MrRegion, mr_phantom
from models.spineps.prepare import Preparation
from models.spineps.publish import publish
from models.spineps.published import import_published
from operators.dicom.series import index_folder
from operators.dicom.volume import plan_volumes, read_volume
from tests.benchmarks.comparison import STRUCTURE_NAMES, Agreement, compare
from tests.benchmarks.old_form import to_old_form

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "models" / "packs" / "spineps-phantom"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by tests.benchmarks.spineps_against_original -->", "<!-- end -->"
THREADS = 2
LEAST_DICE, LEAST_RATIO, MOST_MEMORY = 0.98, 3.0, 0.5
PHANTOM_SEEDS = range(2_000_000, 2_000_012)  # training uses lower ones
BRIGHTEST = 4000.0
REGIONS: tuple[MrRegion, ...] = ("lumbar", "cervical", "thoracic", "whole")
REAL = ("lumbar_VB2_02", "lumbar_VB2_09", "lumbar_IVD_11", "lumbar_sct")
# phase of the table → what it is called in the timings of ours and of the original
PHASES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "prepare": (("prepare",), ("prepare",)),
        "semantic": (("semantic", "clean"), ("semantic",)),
        "instances": (("instances",), ("instances",)),
        "combine, levels": (("combine", "levels"), ("combine", "centroids")),
    }
)


@dataclass(frozen=True)
class Run:
    """One engine's run on one volume, as the scripts measured it."""

    outcome: str
    load_s: float
    wall_s: float
    peak_mib: float
    phases_s: Mapping[str, float]


@dataclass(frozen=True)
class Duel:
    """Both engines on one volume; `agreement` is None where one of them gave no answer."""

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    ours: Run
    original: Run
    agreement: Agreement | None


def main() -> None:
    """Run the duels and show or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--original", type=Path, required=True, help="Python with the package spineps")
    parser.add_argument("--pack", type=Path, default=PACK)
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data" / "mr")
    parser.add_argument("--work", type=Path, help="keep volumes and answers here, and reuse the original's")
    parser.add_argument("--only", nargs="*", help="names of volumes (phantom seeds too)")
    parser.add_argument("--old-form", action="store_true", help="plans of nnU-Net 2.2, imported again")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        duels = []
        named = volumes(arguments.real, arguments.only)
        for duel in run_duels(arguments.original, arguments.pack, named, work, old_form=arguments.old_form):
            print(row(duel), flush=True)
            duels.append(duel)
    text = tables(duels, load_pack(arguments.pack).digest)
    print(text)
    if arguments.write:
        write_page(PAGE, text)


def volumes(real: Path, only: Sequence[str] | None = None) -> Iterator[tuple[str, SpineVolume]]:
    """Phantoms that no training has seen, then the real series that are there."""
    makers: dict[str, Callable[[], SpineVolume | None]] = {}
    for place, seed in enumerate(PHANTOM_SEEDS):
        makers[f"phantom {seed}"] = lambda seed=seed, place=place: _phantom(seed, REGIONS[place % len(REGIONS)])  # type: ignore[misc]
    for name in REAL:
        makers[name] = lambda name=name: _real(real / name)  # type: ignore[misc]
    for name, make in makers.items():
        if only is None or name in only or name.removeprefix("phantom ") in only:
            volume = make()
            if volume is not None:
                yield name, volume


def _phantom(seed: int, region: MrRegion) -> SpineVolume:
    phantom = mr_phantom(seed, region=region, contrast="T2w")
    # Whole numbers, as scanners store them: the original takes what is below 60 for air.
    voxels = np.rint(phantom.voxels * (BRIGHTEST / phantom.voxels.max())).astype(np.float32)
    return SpineVolume(voxels, phantom.affine, "T2w")


def _real(folder: Path) -> SpineVolume | None:
    if not folder.is_dir():
        return None
    (files,) = index_folder(folder).series
    (series,) = files.load().series
    return read_volume(plan_volumes(series).chosen, contrast="T2w", body_region=None)


def run_duels(
    python: Path, pack: Path, named: Iterator[tuple[str, SpineVolume]], work: Path, *, old_form: bool = False
) -> Iterator[Duel]:
    """Run both engines on each volume, one after the other.

    Raises: RuntimeError with the end of a run's output when it failed.
    """
    work.mkdir(parents=True, exist_ok=True)
    published, loaded = work / "published", load_pack(pack)
    publish(loaded, published)
    if old_form:
        to_old_form(published / "semantic")
        (loaded,) = import_published([published], work / "packs").packs
        pack = work / "packs" / loaded.name
    steps = json.dumps(asdict(Preparation.of(loaded.networks["semantic"])))
    script = Path(__file__).with_name("original_spineps.py")
    original_command = [str(python), str(script), "--published", str(published), "--preparation", steps]
    for name, volume in named:
        stem = work / name.replace(" ", "_")
        stored = stem.with_name(f"{stem.name}.volume.npz")
        np.savez(stored, voxels=volume.voxels, affine=volume.affine)
        theirs = stem.with_name(f"{stem.name}.original.npz")
        mine = stem.with_name(f"{stem.name}.ours.npz")
        original = run_engine(original_command, stored, theirs)
        ours = run_engine(ours_command(pack), stored, mine)
        both = mine.is_file() and theirs.is_file()
        agreement = compare(dict(np.load(mine)), dict(np.load(theirs))) if both else None
        yield Duel(name, volume.voxels.shape, volume.spacing_mm, ours, original, agreement)


def ours_command(pack: Path) -> list[str]:
    """Start our engine with a pack; `run_engine` adds the files."""
    return [sys.executable, "-m", "tests.benchmarks.our_spineps", "--pack", str(pack)]


def run_engine(command: Sequence[str], volume: Path, out: Path) -> Run:
    """Run a script in a process of its own and read what it measured."""
    measured = out.with_suffix(".json")
    for stale in (out, measured):
        stale.unlink(missing_ok=True)
    threads = {
        name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    }
    environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    files = ["--volume", str(volume), "--out", str(out), "--threads", str(THREADS)]
    done = subprocess.run([*command, *files], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not measured.is_file():
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    body = json.loads(measured.read_text())
    return Run(**{field: body[field] for field in Run.__dataclass_fields__})


def row(duel: Duel) -> str:
    """One line of the table per volume."""
    ours, theirs, agreement = duel.ours, duel.original, duel.agreement
    grid = "×".join(map(str, duel.shape))
    times = f"{theirs.wall_s:.0f} | {ours.wall_s:.0f} | {theirs.wall_s / ours.wall_s:.1f}"
    memory = f"{theirs.peak_mib:.0f} | {ours.peak_mib:.0f} | {ours.peak_mib / theirs.peak_mib:.2f}"
    if agreement is None:
        return f"| {duel.name} | {grid} | {theirs.outcome} / {ours.outcome} | | | | {times} | {memory} |"
    counts = " / ".join(_counted(agreement.vertebra_counts[run], agreement.fragments[run]) for run in (1, 0))
    values = (list(agreement.structures.values()), agreement.vertebrae, agreement.discs)
    means = " | ".join(f"{np.mean(value):.3f} ({np.min(value):.3f})" if len(value) else "–" for value in values)
    return f"| {duel.name} | {grid} | {counts} | {means} | {times} | {memory} |"


def _counted(vertebrae: int, fragments: int) -> str:
    return f"{vertebrae} + {fragments}" if fragments else str(vertebrae)


def tables(duels: Sequence[Duel], digest: str) -> str:
    """All tables as Markdown."""
    compared = [duel for duel in duels if duel.agreement is not None]
    lines = [
        f"Pack: SHA-256 `{digest[:16]}…`; {THREADS} threads, no GPU; every run in a process of its own. The original "
        "comes first in each pair of columns. `7 + 1` vertebrae are seven and a piece below 15 % of their median.",
        "",
        "| volume | grid | vertebrae | Dice, structures: mean (least) | per vertebra | per disc "
        "| original s | ours s | times faster | original MiB | ours MiB | share |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(row, duels),
        "",
        "| over all volumes | aim | measured |",
        "| --- | ---: | ---: |",
        *summary(duels),
        "",
        "| phase | original s | ours s | times faster |",
        "| --- | ---: | ---: | ---: |",
        *phase_rows(duels),
        "",
        "| structure | volumes | mean Dice | least |",
        "| --- | ---: | ---: | ---: |",
    ]
    for label, name in STRUCTURE_NAMES.items():
        values = [
            duel.agreement.structures[label]
            for duel in compared
            if duel.agreement and label in duel.agreement.structures
        ]
        if values:
            lines.append(f"| {label} {name} | {len(values)} | {np.mean(values):.4f} | {np.min(values):.4f} |")
    return "\n".join(lines)


def summary(duels: Sequence[Duel]) -> Iterator[str]:
    """The aims and what was reached."""
    agreements = [duel.agreement for duel in duels if duel.agreement is not None]
    equal = sum(agreement.vertebra_counts[0] == agreement.vertebra_counts[1] for agreement in agreements)
    yield f"| volumes with an equal number of vertebrae | {len(duels)} | {equal} |"
    for name, of in (("structure", _structures), ("vertebra", lambda agreement: agreement.vertebrae)):
        values = [value for agreement in agreements for value in of(agreement)]
        if values:
            yield f"| mean Dice per {name} | {LEAST_DICE} | {np.mean(values):.4f} |"
    seconds = sum(duel.original.wall_s for duel in duels) / sum(duel.ours.wall_s for duel in duels)
    yield f"| times faster, all phases | {LEAST_RATIO:.0f} | {seconds:.1f} |"
    memory = max(duel.ours.peak_mib / duel.original.peak_mib for duel in duels)
    yield f"| greatest share of the original's peak memory | {MOST_MEMORY} | {memory:.2f} |"
    loads = [float(np.mean([getattr(duel, engine).load_s for duel in duels])) for engine in ("original", "ours")]
    yield f"| start of the process and loading the pack, s (original, ours) | | {loads[0]:.1f}, {loads[1]:.1f} |"


def _structures(agreement: Agreement) -> Sequence[float]:
    return tuple(agreement.structures.values())


def phase_rows(duels: Sequence[Duel]) -> Iterator[str]:
    """Seconds per phase, summed over the volumes."""
    totals = {phase: [0.0, 0.0] for phase in (*PHASES, "everything else")}
    for duel in duels:
        for phase, (mine, theirs) in PHASES.items():
            totals[phase][0] += sum(duel.original.phases_s.get(name, 0.0) for name in theirs)
            totals[phase][1] += sum(duel.ours.phases_s.get(name, 0.0) for name in mine)
    for side, engine in enumerate(("original", "ours")):
        known = sum(totals[phase][side] for phase in PHASES)
        totals["everything else"][side] = sum(getattr(duel, engine).wall_s for duel in duels) - known
    for phase, (original_s, ours_s) in totals.items():
        ratio = f"{original_s / ours_s:.1f}" if ours_s > 0.05 else ""
        yield f"| {phase} | {original_s:.1f} | {ours_s:.1f} | {ratio} |"


def write_page(page: Path, text: str) -> None:
    """Put the tables between their two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
