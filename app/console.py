"""What `spondyl run` shows: a progress bar while it works, a table when it is done."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from app.cells import cell
from app.report import EXIT_NOTHING_ROUTED, RunReport, label_range, vertebra_labels
from app.run import Progress, run_folder
from app.settings import Settings
from app.shown_text import shown

COLOURS = {"succeeded": "green", "skipped": "dim", "refused": "yellow", "failed": "red"}
MOST_ROWS = 40


def show_run(source: Path, out: Path, settings: Settings) -> int:
    """Run over a folder, show how far it is and what came of it, and return the exit code."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading headers", total=None)

        def show(progress: Progress) -> None:
            bar.update(task, description="segmenting", completed=progress.done, total=progress.total)

        report = run_folder(source, out, settings=settings, progress=show)
    _show_report(report, console)
    console.print(cell(f"report: {out / 'report.json'}"), soft_wrap=True)
    return report.exit_code


def _show_report(report: RunReport, console: Console) -> None:
    table = Table("series", "status", "found", "why", box=None, header_style="bold")
    for entry in report.series[:MOST_ROWS]:
        colour = COLOURS[entry.status]
        found = label_range(vertebra_labels(entry.structures))
        table.add_row(
            cell(entry.series_instance_uid[-12:]), f"[{colour}]{entry.status}[/]", cell(found), cell(entry.reason)
        )
    console.print(table)
    if len(report.series) > MOST_ROWS:
        console.print(f"… and {len(report.series) - MOST_ROWS} more series; all are in the report")
    if report.ignored_count:
        console.print(
            f"{report.ignored_count} files were no DICOM and were ignored; `spondyl segment` takes NIfTI and MetaImage"
        )
    for path, sentence in report.faults:
        line = Text.assemble((shown(path.name), "red"), f": {shown(sentence)}")
        console.print(line, soft_wrap=True)
    if report.exit_code == EXIT_NOTHING_ROUTED:
        console.print("Nothing was routed: no series here is one that an installed pack takes.")
