"""What headers, file names and rows of the queue hold is shown as it is: no markup, no escape sequence, no novel."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from rich.console import Console
from typer.testing import CliRunner

from app import console, segment
from app.cells import cell
from app.cli import app
from app.jobs.layout import StorageLayout
from app.logs import configure_logging, get_logger
from app.report import RunReport, SeriesReport
from app.shown_text import LONGEST_SHOWN, shown
from tests.made_queue import MadeQueue, made_job

ODD = "[/X] [red]a[/red] \\ [link=file:///]b :smile: \x1b[31m\u202egnp"


@pytest.mark.parametrize("text", ["", "plain", "two\nlines", "Wirbelsäule, 脊椎", "[/X]"])
def test_an_ordinary_text_is_shown_as_it_is(text: str) -> None:
    """Umlauts, other scripts, brackets."""
    assert shown(text) == text
    assert cell(text).plain == text


def test_what_moves_a_terminal_or_turns_its_writing_is_replaced() -> None:
    """An escape sequence in a Series Description must not repaint the administrator's screen."""
    assert shown("a\x1b[2J\rb\x9b1m\u202ec\ud800") == "a\ufffd[2J\ufffdb\ufffd1m\ufffdc\ufffd"


def test_a_long_text_is_cut() -> None:
    """LT and UT have no useful limit."""
    assert len(shown("x" * 100_000)) == LONGEST_SHOWN
    assert shown("x" * 100_000).endswith("…")
    assert shown("x" * LONGEST_SHOWN) == "x" * LONGEST_SHOWN


def show_a_run(out: Console) -> None:
    """Show the table of `spondyl run`."""
    found = ({"label": ODD, "kind": "vertebra"},)
    entry = SeriesReport("1.2", "1.2.3", ("1.2.3.4",), "spinefm", "failed", ODD, structures=found)
    console._show_report(RunReport("0", (entry,), faults=((Path(ODD.replace("/", "")), ODD),)), out)


def show_volumes(out: Console) -> None:
    """Show the table of `spondyl segment`."""
    segment._show([segment.VolumeEntry(name=ODD, status="failed", reason=ODD)], out)


@pytest.mark.parametrize("show", [show_a_run, show_volumes])
def test_every_table_shows_odd_texts(show: Callable[[Console], None]) -> None:
    """Brackets that close nothing once ended the command with a traceback."""
    out = io.StringIO()
    show(Console(file=out, width=400))

    assert "[/X] [red]a[/red]" in out.getvalue()
    assert ":smile:" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_the_commands_about_jobs_show_odd_texts(tmp_path: Path) -> None:
    """A title or sentence with brackets is listed as it is."""
    (tmp_path / "storage").mkdir()
    file = tmp_path / "app.yaml"
    file.write_text(f"storage: {tmp_path / 'storage'}\n")
    made = MadeQueue(StorageLayout(tmp_path / "storage"))
    job = made_job(calling_ae_title="[/X]")
    made.ended(job, "failed", ODD)
    made.close()

    listed = CliRunner().invoke(app, ["jobs", "list", "--config", str(file)], env={"COLUMNS": "300"})
    told = CliRunner().invoke(app, ["jobs", "show", job.job_id, "--config", str(file)])

    for outcome in (listed, told):
        assert outcome.exception is None
        assert "[/X] [red]a[/red]" in outcome.output
        assert "\x1b" not in outcome.output
    assert listed.output.count("[/X]") == 2


def test_a_line_of_the_log_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a header or a peer puts into it."""
    configure_logging("info", process="test")
    get_logger().info("odd", reason="x" * 100_000, title=ODD, number=3)
    structlog.reset_defaults()
    line = json.loads(capsys.readouterr().err)

    assert len(line["reason"]) == LONGEST_SHOWN
    assert (line["title"], line["number"]) == (shown(ODD), 3)
