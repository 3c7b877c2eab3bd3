"""The `spondyl` command: thin verbs, each of which loads its room only when it is called.

Exit codes: 0 done; 2 it cannot be done as asked, with one line on standard error that says what to do;
`run` also 3 (nothing was routed) and 4 (a routed Series has no result).
"""

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cells import cell
from app.logs import configure_logging
from app.settings import Settings, load_settings
from app.shown_text import shown
from models.errors import SpondylError

EXIT_UNUSABLE = 2

app = typer.Typer(
    help="Spondyl segments spine studies beside a PACS. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs = typer.Typer(help="Look into the queue of the node.", no_args_is_help=True)
packs = typer.Typer(help="Model packs.", no_args_is_help=True)
phantoms = typer.Typer(help="Synthetic studies with known truth.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")
app.add_typer(packs, name="models")
app.add_typer(phantoms, name="phantom")

Folder = Annotated[Path, typer.Argument(exists=True, readable=True, show_default=False)]
NewFolder = Annotated[Path, typer.Argument(show_default=False)]
JobId = Annotated[str, typer.Argument(help="The id, or the beginning of it.", show_default=False)]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file (default: SPONDYL_CONFIG, ./app.yaml).")]


class Region(StrEnum):
    """Parts of the spine that a phantom can show."""

    CERVICAL = "cervical"
    LUMBAR = "lumbar"


class MrField(StrEnum):
    """Fields of view that an MR phantom can have."""

    CERVICAL = "cervical"
    THORACIC = "thoracic"
    LUMBAR = "lumbar"
    WHOLE = "whole"


class Contrast(StrEnum):
    """Contrasts that an MR phantom can have."""

    T2W = "T2w"
    T1W = "T1w"
    STIR = "STIR"
    OTHER = "other"


class Role(StrEnum):
    """Which part of a node runs here."""

    ALL = "all"
    GATEWAY = "gateway"
    WORKER = "worker"


class Profile(StrEnum):
    """How results are encoded."""

    STANDARD = "standard"
    OHIF = "ohif"


def main() -> None:
    """Run the command; an error of Spondyl is one line on standard error, not a traceback."""
    try:
        app()
    except SpondylError as error:
        print(f"spondyl: {shown(error)}", file=sys.stderr)
        raise SystemExit(EXIT_UNUSABLE) from error


@app.command()
def run(
    source: Annotated[Path, typer.Argument(metavar="INPUT", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUTPUT", show_default=False)],
    profile: Annotated[Profile | None, typer.Option(help="How Segmentations are encoded.")] = None,
    config: Config = None,
) -> None:
    """Segment every series below INPUT once; results, pictures and report.json go to OUTPUT."""
    settings = load_settings(config)
    # The bar and the table tell the same; information lines would tear them.
    configure_logging("debug" if settings.log_level == "debug" else "warning", process="run")
    if profile is not None:
        settings = settings.model_copy(update={"result_profile": profile.value})
    from app.console import show_run

    raise typer.Exit(show_run(source, out, settings))


@app.command()
def segment(
    source: Annotated[Path, typer.Argument(metavar="INPUT", exists=True, show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUTPUT", show_default=False)],
    contrast: Annotated[Contrast | None, typer.Option(help="Of all volumes (default: what their names say).")] = None,
    config: Config = None,
) -> None:
    """Segment MR volumes in NIfTI or MetaImage files; label maps for `evaluate` and pictures go to OUTPUT."""
    settings = load_settings(config)
    configure_logging("debug" if settings.log_level == "debug" else "warning", process="segment")
    from app.segment import segment_command

    raise typer.Exit(segment_command(source, out, settings, contrast=contrast.value if contrast else None))


@app.command()
def serve(
    role: Annotated[
        Role,
        typer.Option(help="What runs here: all of the node, the gateway with the page, or the workers."),
    ] = Role.ALL,
    config: Config = None,
) -> None:
    """Run the node: Storage SCP, worker, delivery and dashboard."""
    settings = _settings(config, "serve")
    from app.preflight import check_service
    from app.serve import serve as serve_node

    check_service(settings)
    raise typer.Exit(serve_node(settings, role=role.value))


@app.command()
def send(
    folder: Folder,
    *,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 11112,
    called: Annotated[str, typer.Option(help="AE title of the receiver.")] = "SPONDYL",
    calling: Annotated[str, typer.Option(help="AE title of the sender.")] = "SPONDYL-SEND",
) -> None:
    """Send the instances below FOLDER by C-STORE."""
    from app.delivery.send import send_folder

    outcomes = send_folder(folder, host, port, calling=calling, called=called)
    stored = [outcome for outcome in outcomes if outcome.fate == "stored"]
    for outcome in outcomes:
        if outcome not in stored:
            print(shown(f"{outcome.sop_instance_uid}: {outcome.sentence}"), file=sys.stderr)
    print(f"{len(stored)} of {len(outcomes)} instances stored at {called} ({host}:{port})")
    raise typer.Exit(0 if outcomes and len(stored) == len(outcomes) else 1)


@app.command()
def check(config: Config = None) -> None:
    """Tell what is in order: models, ports, destinations (C-ECHO), disk, accelerator."""
    settings = _settings(config, "check")
    from app.check import run_checks

    raise typer.Exit(run_checks(settings))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for studies, results and pictures.")] = Path("spondyl-demo"),
    config: Config = None,
) -> None:
    """Do the main job on this machine: studies in by C-STORE, results back by C-STORE."""
    settings = _settings(config, "demo")
    from app.demo import run_demo

    raise typer.Exit(run_demo(out, settings))


@app.command()
def licences() -> None:
    """List what the node needs at run time, with versions and licences; NOTICE names those with conditions."""
    from app.licences import runtime_licences

    found = runtime_licences()
    _table(["distribution", "version", "licence"], ((each.name, each.version, each.text) for each in found))


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(metavar="PRED", exists=True, show_default=False)],
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", exists=True, show_default=False)],
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write every number here.")] = None,
    split: Annotated[Path | None, typer.Option(help="A file with an image id per line: only these count.")] = None,
    versus: Annotated[
        Path | None, typer.Option(exists=True, help="A second set of predictions of volumes: test the difference.")
    ] = None,
) -> None:
    """Compare segmentations with references: Dice, identification rate, surface distance; volumes by structure."""
    from app.evaluate import evaluate_command

    raise typer.Exit(evaluate_command(prediction, reference, json_out=json_out, split=split, versus=versus))


@app.command()
def train(
    engine: Annotated[str, typer.Argument(help="spinefm or spineps", show_default=False)],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the new pack.")],
    work: Annotated[Path, typer.Option(help="Scenes, checkpoints and logs; give it again to go on.")],
    seed: Annotated[int, typer.Option()] = 1,
    minutes: Annotated[
        float | None, typer.Option(help="Limit: for each network of spinefm, for all of spineps (default: 180).")
    ] = None,
    device: Annotated[str, typer.Option()] = "cpu",
    version: Annotated[str, typer.Option(help="Version of the pack.")] = "1",
) -> None:
    """Train the networks of an engine on phantoms alone and write a pack."""
    if engine == "spinefm":
        from models.training.spinefm import Recipe, train_spinefm

        train_spinefm(out, work=work, recipe=Recipe(seed=seed, minutes=minutes, device=device), version=version)
    elif engine == "spineps":
        from models.training.spineps import SpinepsRecipe, train_spineps

        limit = SpinepsRecipe.minutes if minutes is None else minutes
        recipe = SpinepsRecipe(seed=seed, minutes=limit, device=device)
        train_spineps(out, work=work, recipe=recipe, version=version)
    else:
        raise SpondylError(f"there is no training for {engine!r}; there is for spinefm and spineps")


@jobs.command("list")
def list_jobs(limit: Annotated[int, typer.Option(min=1)] = 20, config: Config = None) -> None:
    """Show the youngest jobs."""
    from app.jobs import queries

    settings = _settings(config, "jobs")
    statuses = queries.list_jobs(settings, limit=limit)
    _table(["job", "state", "since (UTC)", "from", "what"], (_job_row(status) for status in statuses))
    if discarded := queries.list_discarded(settings, limit=limit):
        print("\nAcknowledged and not kept:")
        rows = ((_time(one.updated_at), one.calling_ae_title, f"{one.instances}", one.reason) for one in discarded)
        _table(["since (UTC)", "from", "instances", "what"], rows)


@jobs.command("show")
def show_job(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A job id or its beginning; a UID of a study, series, instance or result; an accession number.",
            show_default=False,
        ),
    ],
    config: Config = None,
) -> None:
    """Tell all that happened to a job, a series or a study."""
    from app.jobs import queries
    from app.jobs.story import tell

    for detail in queries.find_jobs(_settings(config, "jobs"), name):
        print("\n".join(map(shown, tell(detail))), end="\n\n")


@jobs.command("retry")
def retry_job(job_id: JobId, config: Config = None) -> None:
    """Put a job that has ended back into the queue."""
    from app.jobs import queries

    status = queries.retry_job(_settings(config, "jobs"), job_id)
    print(shown(f"{status.job.job_id}: {status.state}. {status.sentence}"))


@jobs.command("cancel")
def cancel_job(job_id: JobId, config: Config = None) -> None:
    """Stop a job before its next step."""
    from app.jobs import queries

    status = queries.cancel_job(_settings(config, "jobs"), job_id)
    print(shown(f"{status.job.job_id}: {status.state}. {status.sentence}"))


@jobs.command("discard")
def discard_job(job_id: JobId, config: Config = None) -> None:
    """Remove what is kept of a job that has ended; its record stays."""
    from app.jobs import queries

    status = queries.discard_job(_settings(config, "jobs"), job_id)
    print(f"{status.job.job_id}: its instances and results were removed")


@packs.command("list")
def list_packs(config: Config = None) -> None:
    """Show the installed packs."""
    from models.packs import discover_packs

    settings = _settings(config, "models")
    rows = (
        (
            pack.name,
            pack.version,
            pack.engine,
            "default" if pack.name in settings.default_pack else "",
            pack.digest[:12],
        )
        for pack in discover_packs(settings.packs)
    )
    _table(["pack", "version", "engine", "", "digest"], rows)


@packs.command("verify")
def verify_packs(config: Config = None) -> None:
    """Hold the weights of every installed pack against their hashes."""
    from models.packs import discover_packs

    for pack in discover_packs(_settings(config, "models").packs):
        print(f"{pack.name} {pack.version}: {len(pack.weights)} weight files have their SHA-256")


@packs.command("import")
def import_pack(
    engine: Annotated[str, typer.Argument(help="spinefm or spineps", show_default=False)],
    source: Annotated[
        list[Path],
        typer.Option("--from", help="Folder with the published files; for spineps also several.", exists=True),
    ],
    out: Annotated[
        Path | None, typer.Option("--to", "--out", help="Folder of packs (default: that of the settings).")
    ] = None,
    config: Config = None,
) -> None:
    """Turn published weights into a pack."""
    folder = out or _settings(config, "models").packs
    if engine == "spinefm":
        from models.spinefm import published as spinefm

        if len(source) > 1:
            raise SpondylError("the published files of SpineFM lie in one folder; give --from once")
        imported = [spinefm.import_published(source[0], folder)]
    elif engine == "spineps":
        from models.spineps import published as spineps

        release = spineps.import_published(source, folder)
        imported = list(release.packs)
        for note in release.notes:
            print(note, file=sys.stderr)
    else:
        raise SpondylError(f"there is no importer for {engine!r}; there is one for spinefm and one for spineps")
    for pack in imported:
        print(f"{pack.name} {pack.version} is installed; prefer it with default_pack: [{pack.name}, …]")


@packs.command("export")
def export_pack(
    name: Annotated[str, typer.Argument(help="An installed pack for spineps.", show_default=False)],
    out: Annotated[Path, typer.Option("--to", help="Folder for the published folders.")],
    config: Config = None,
) -> None:
    """Write a pack as the folders that the original SPINEPS reads."""
    from models.packs import discover_packs
    from models.spineps.publish import publish

    installed = {pack.name: pack for pack in discover_packs(_settings(config, "models").packs)}
    if name not in installed:
        raise SpondylError(f"there is no pack {name!r} installed; there are {', '.join(installed) or 'none'}")
    for network, folder in publish(installed[name], out).items():
        print(f"{network}: {folder}")


@phantoms.command("mr")
def phantom_mr(
    out: NewFolder,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    region: Annotated[MrField | None, typer.Option(help="Chosen by the seed unless given.")] = None,
    contrast: Annotated[Contrast | None, typer.Option(help="Chosen by the seed unless given.")] = None,
    isotropic: Annotated[bool, typer.Option(help="Voxels of one size instead of thick slices.")] = False,
) -> None:
    """Write a synthetic sagittal MR study and its truth to OUT."""
    from app.phantom_mr import write_mr_study

    files = write_mr_study(
        out,
        seed,
        region=region.value if region else None,
        contrast=contrast.value if contrast else None,
        isotropic=isotropic,
    )
    print("\n".join(str(file) for file in files))


@phantoms.command("xray")
def phantom_xray(
    out: NewFolder,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    region: Annotated[Region | None, typer.Option(help="Chosen by the seed unless given.")] = None,
    calibrated: Annotated[bool, typer.Option(help="Whether the header tells the spacing in the patient.")] = True,
) -> None:
    """Write a synthetic DX study and its truth to OUT."""
    from app.phantom import write_xray_study

    files = write_xray_study(out, seed, region=region.value if region else None, calibrated=calibrated)
    print("\n".join(str(file) for file in files))


def _settings(config: Path | None, process: str) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.log_level, process=process)
    return settings


def _job_row(status: Any) -> tuple[str, ...]:
    return (
        status.job.job_id[:12],
        status.state,
        _time(status.updated_at),
        status.job.calling_ae_title,
        status.sentence,
    )


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _table(headings: list[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*headings, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(cell, row))
    Console().print(table)
