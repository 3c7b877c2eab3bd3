"""Make docs/accuracy.md: measure, write, draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

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
from app.accuracy.pictures import overlay, refuse_inside_checkout
from models.errors import SpondylError
from models.packs import load_pack
from models.phantom.radiograph import radiograph_phantom

CHECKOUT = Path(__file__).parents[2]
SCALES = {
    True: "The engine was given the calibrated spacing of each phantom.",
    False: "The engine was given no spacing and had to estimate the scale, as from most radiographs.",
}


@dataclass(frozen=True)
class Engine:
    """The pack that is measured, and where it runs."""

    pack: Path
    device: str


def main(
    *,
    date: Annotated[str, typer.Option(help="Date of the measurement, as it is to stand in the document.")],
    pack: Annotated[Path, typer.Option(help="Folder of the model pack.")] = CHECKOUT / "models/packs/spinefm-phantom",
    out: Annotated[Path, typer.Option(help="The document.")] = CHECKOUT / "docs/accuracy.md",
    count: Annotated[int, typer.Option(min=2, help="Phantoms, half cervical, half lumbar.")] = 200,
    calibrated: Annotated[bool, typer.Option(help="Give the engine the phantoms' spacing.")] = False,
    real: Annotated[Path, typer.Option(help="Folder of real radiographs with references.")] = Path(
        "../shared/data/xray"
    ),
    pictures: Annotated[Path | None, typer.Option(help="Where pictures of real images go; not in the project.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=2, help="Engines at once.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    cache: Annotated[Path, typer.Option(help="Where an interrupted run goes on.")] = CHECKOUT / ".cache/accuracy",
) -> None:
    """Measure a pack on held-back phantoms and real radiographs, and write docs/accuracy.md."""
    console = Console(stderr=True)
    engine = Engine(pack, device)
    folders = radiograph_folders(real) if real is not None else ()
    try:
        if pictures is not None:
            refuse_inside_checkout(pictures, CHECKOUT)
        loaded = load_pack(pack)
        running = measure_phantoms(
            held_back(count), pack=pack, device=device, calibrated=calibrated, processes=processes, cache_dir=cache
        )
        phantoms = list(track(running, "phantoms", total=count, console=console))
        radiographs = [measure_radiograph(folder, pack=pack, device=device) for folder in folders]
        drawn = draw_phantoms(phantoms, engine, folder=out.parent / "images", calibrated=calibrated)
        if pictures is not None:
            draw_radiographs(folders, engine, folder=pictures)
    except SpondylError as error:
        console.print(f"[red]accuracy:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    options = ["--calibrated"] * calibrated + ["--real FOLDER"] * bool(folders)
    command = " ".join(["python -m app.accuracy", f"--date {date}", f"--count {count}", *options])
    making = Making(date, command, loaded.name, loaded.version, loaded.digest, SCALES[calibrated])
    out.write_text(document(making, phantoms, radiographs, pictures=drawn), encoding="utf-8")
    console.print(f"{out} written from {len(phantoms)} phantoms and {len(radiographs)} radiographs", highlight=False)


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
