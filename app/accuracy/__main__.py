"""Make docs/accuracy.md: measure, write, draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.text import Text

from app.accuracy.document import Making, Picture, document, mean_dice
from app.accuracy.measure import (
    Held,
    Measured,
    held_back,
    measure_phantoms,
    measure_radiograph,
    phantom_image,
    radiograph_folders,
    read_radiograph,
    segment,
)
from app.accuracy.parts import PARTS, write_part
from app.accuracy.pictures import overlay, refuse_inside_checkout
from app.accuracy.volume_document import vertebra_dice, volumes_document
from app.accuracy.volume_pictures import volume_overlay
from app.accuracy.volumes import (
    MeasuredVolume,
    held_back_seeds,
    measure_phantom_volumes,
    measure_real_volume,
    phantom_volume,
    read_real_volume,
    real_volume_folders,
    segment_volume,
)
from app.shown_text import shown
from models.errors import SpondylError
from models.packs import ModelPack, load_pack
from models.phantom.mr import mr_phantom
from models.phantom.radiograph import radiograph_phantom

CHECKOUT = Path(__file__).parents[2]
PACKS = CHECKOUT / "models/packs"
SCALES = {
    True: "The engine was given the calibrated spacing of each phantom.",
    False: "The engine was given no spacing and had to estimate the scale, as from most radiographs.",
}


@dataclass(frozen=True)
class Engine:
    """The pack that is measured, and where it runs."""

    pack: Path
    device: str


class Half(StrEnum):
    """A half of the document."""

    BOTH = "both"
    RADIOGRAPHS = "radiographs"
    MR = "mr"


@dataclass(frozen=True)
class Run:
    """What holds for the measurement of a half.

    pictures: where pictures of real images go, or None for none. cache: where an interrupted run goes on.
    """

    engine: Engine
    date: str
    out: Path
    pictures: Path | None
    processes: int
    cache: Path

    def making(self, pack: ModelPack, half: Half, options: Sequence[str], scale: str) -> Making:
        """How the half came about, for the document."""
        command = " ".join(["python -m app.accuracy", f"--only {half.value}", f"--date {self.date}", *options])
        return Making(self.date, command, pack.name, pack.version, pack.digest, scale)


def main(
    *,
    date: Annotated[str, typer.Option(help="Date of the measurement, as it is to stand in the document.")],
    only: Annotated[Half, typer.Option(help="Which half to measure; the other stays as it is.")] = Half.BOTH,
    pack: Annotated[Path, typer.Option(help="Folder of the radiographs' pack.")] = PACKS / "spinefm-phantom",
    mr_pack: Annotated[Path, typer.Option(help="Folder of the MR volumes' pack.")] = PACKS / "spineps-phantom",
    out: Annotated[Path, typer.Option(help="The document.")] = CHECKOUT / "docs/accuracy.md",
    count: Annotated[int, typer.Option(min=2, help="Phantom radiographs, half cervical, half lumbar.")] = 200,
    mr_count: Annotated[int, typer.Option(min=1, help="Phantom volumes.")] = 50,
    calibrated: Annotated[bool, typer.Option(help="Give the engine the radiographs' spacing.")] = False,
    real: Annotated[Path, typer.Option(help="Folder of real radiographs with references.")] = Path(
        "../shared/data/xray"
    ),
    mr_real: Annotated[Path, typer.Option(help="Folder of real MR volumes.")] = Path("../shared/data/mr"),
    pictures: Annotated[Path | None, typer.Option(help="Where pictures of real images go; not in the project.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=2, help="Engines at once.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    cache: Annotated[Path, typer.Option(help="Where an interrupted run goes on.")] = CHECKOUT / ".cache/accuracy",
) -> None:
    """Measure the packs on held-back phantoms and real images, and write docs/accuracy.md."""
    console = Console(stderr=True)
    try:
        if pictures is not None:
            refuse_inside_checkout(pictures, CHECKOUT)
        if only is not Half.MR:
            run = Run(Engine(pack, device), date, out, pictures, processes=processes, cache=cache)
            measure_radiographs(run, console, count=count, calibrated=calibrated, real=real)
        if only is not Half.RADIOGRAPHS:
            run = Run(Engine(mr_pack, device), date, out, pictures, processes=processes, cache=cache)
            measure_volumes(run, console, count=mr_count, real=mr_real)
    except SpondylError as error:
        console.print(Text.assemble(("accuracy:", "red"), f" {shown(error)}"), soft_wrap=True)
        raise typer.Exit(2) from error


def measure_radiographs(run: Run, console: Console, *, count: int, calibrated: bool, real: Path) -> None:
    """Measure the radiographs' half and write it.

    Raises:
        PackError: the pack cannot be used.
    """
    pack, device = run.engine.pack, run.engine.device
    folders = radiograph_folders(real)
    loaded = load_pack(pack)
    running = measure_phantoms(
        held_back(count), pack=pack, device=device, calibrated=calibrated, processes=run.processes, cache_dir=run.cache
    )
    phantoms = list(track(running, "phantoms", total=count, console=console))
    radiographs = [measure_radiograph(folder, pack=pack, device=device) for folder in folders]
    drawn = draw_phantoms(phantoms, run.engine, folder=run.out.parent / "images", calibrated=calibrated)
    if run.pictures is not None:
        draw_radiographs(folders, run.engine, folder=run.pictures)
    options = [f"--count {count}", *["--calibrated"] * calibrated, *["--real FOLDER"] * bool(folders)]
    making = run.making(loaded, Half.RADIOGRAPHS, options, SCALES[calibrated])
    write_part(run.out, PARTS[0], document(making, phantoms, radiographs, pictures=drawn))
    console.print(f"{run.out}: {len(phantoms)} phantoms and {len(radiographs)} radiographs", highlight=False)


def measure_volumes(run: Run, console: Console, *, count: int, real: Path) -> None:
    """Measure the MR half and write it.

    Raises:
        PackError: the pack cannot be used.
    """
    pack, device = run.engine.pack, run.engine.device
    folders = real_volume_folders(real)
    loaded = load_pack(pack)
    running = measure_phantom_volumes(
        held_back_seeds(count), pack=pack, device=device, processes=run.processes, cache_dir=run.cache
    )
    phantoms = list(track(running, "MR phantoms", total=count, console=console))
    measured = []
    for folder in track(folders, "real MR volumes", console=console):
        volume = read_real_volume(folder)
        one, result = measure_real_volume(volume, pack=pack, device=device)
        measured.append(one)
        if run.pictures is not None:
            run.pictures.mkdir(parents=True, exist_ok=True)
            volume_overlay(volume.volume, result, volume.outline).save(run.pictures / f"{folder.name}.png")
    drawn = draw_volumes(phantoms, run.engine, folder=run.out.parent / "images")
    options = [f"--mr-count {count}", *["--mr-real FOLDER"] * bool(folders)]
    making = run.making(loaded, Half.MR, options, f"Device: {device}.")
    write_part(run.out, PARTS[1], volumes_document(making, phantoms, measured, pictures=drawn))
    console.print(f"{run.out}: {len(phantoms)} phantoms and {len(measured)} real volumes", highlight=False)


def draw_volumes(phantoms: Sequence[tuple[int, MeasuredVolume]], engine: Engine, *, folder: Path) -> list[Picture]:
    """Draw the volume of median Dice per vertebra and the worst one."""
    folder.mkdir(parents=True, exist_ok=True)
    ranked = sorted(phantoms, key=lambda pair: (vertebra_dice(pair[1]), pair[0]))
    drawn = []
    for name, (seed, measured) in (("median", ranked[len(ranked) // 2]), ("worst", ranked[0])):
        phantom = mr_phantom(seed)
        volume = phantom_volume(phantom)
        result, _, _ = segment_volume(volume, pack=engine.pack, device=engine.device)
        file = folder / f"accuracy_mr_{name}.jpg"
        volume_overlay(volume, result, phantom.vertebrae).save(file, quality=80)
        caption = f"MR phantom of {name} Dice per vertebra ({vertebra_dice(measured):.3f}, {measured.score.volume})"
        drawn.append(Picture(f"images/{file.name}", f"{caption}: found in colour, truth in white"))
    return drawn


def draw_phantoms(
    phantoms: Sequence[tuple[Held, Measured]], engine: Engine, *, folder: Path, calibrated: bool
) -> list[Picture]:
    """Draw for each region the phantom of median Dice and the worst one."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for region in sorted({held.region for held, _ in phantoms}):
        ranked = sorted(
            ((held, one) for held, one in phantoms if held.region == region and one.score.structures),
            key=lambda pair: (mean_dice(pair[1].score), pair[0].seed),
        )
        for name, (held, measured) in (("median", ranked[len(ranked) // 2]), ("worst", ranked[0])):
            phantom = radiograph_phantom(held.seed, region=held.region)
            image = phantom_image(phantom, calibrated=calibrated)
            result, _ = segment(image, pack=engine.pack, device=engine.device)
            file = folder / f"accuracy_{region}_{name}.jpg"
            overlay(image, result, phantom.labelmap).save(file, quality=80)
            caption = (
                f"{region.capitalize()} phantom of {name} Dice ({mean_dice(measured.score):.3f}, seed {held.seed})"
            )
            drawn.append(Picture(f"images/{file.name}", f"{caption}: found in colour, truth in white"))
    return drawn


def draw_radiographs(folders: Sequence[Path], engine: Engine, *, folder: Path) -> None:
    """Draw every real radiograph with what was found and its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in folders:
        image, reference = read_radiograph(source)
        result, _ = segment(image, pack=engine.pack, device=engine.device)
        overlay(image, result, reference.labelmap).save(folder / f"{source.name}.png")


if __name__ == "__main__":
    typer.run(main)
