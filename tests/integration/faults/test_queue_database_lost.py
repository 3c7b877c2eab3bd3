"""The queue's database is lost, or restored from an older copy: each accepted study is delivered, and once only."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs.comparison import unready_words
from app.jobs.job import JobState, SeriesJob
from app.jobs.layout import StorageLayout
from app.settings import Settings
from tests.node import wait_for
from tests.postgres import program, running_postgres
from tests.worker_site import Database, WorkerSite, worker_site

pytestmark = pytest.mark.slow


def embedded(settings: Settings) -> Database:
    """Return SQLite's."""
    file = StorageLayout(settings.storage).queue_file
    kept = settings.storage.parent / "copy.sqlite"

    def lose() -> None:
        for each in file.parent.glob("queue.sqlite*"):
            each.unlink()

    def restore() -> None:
        lose()
        shutil.copy(kept, file)

    return Database(settings, lose, lambda: shutil.copy(file, kept), restore)


def shared(settings: Settings, url: str) -> Database:
    """Return PostgreSQL's."""

    def run(*statements: str) -> None:
        engine = sa.create_engine(url.rpartition("/")[0] + "/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
        engine.dispose()

    drop = "DROP DATABASE spondyl WITH (FORCE)"
    return Database(
        settings.model_copy(update={"queue_url": url}),
        lambda: run(drop),
        lambda: run("CREATE DATABASE kept TEMPLATE spondyl"),
        lambda: run(drop, "CREATE DATABASE spondyl TEMPLATE kept"),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkerSite]:
    """Return what a worker needs; the test starts it."""
    if request.param == "postgresql" and program("initdb") is None and os.environ.get("CI") != "true":
        pytest.skip("no PostgreSQL is installed (`bash .ci/run` installs the peers)")
    with ExitStack() as stack:
        site = stack.enter_context(worker_site(tmp_path))
        if request.param == "sqlite":
            site.database = embedded(site.settings)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
            site.database = shared(site.settings, stack.enter_context(running_postgres(folder / "cluster")).url)
            site.settings = site.database.settings
        yield site


def test_every_accepted_study_is_delivered_once(site: WorkerSite) -> None:
    """What was delivered is not sent again; what waited goes on; a job that failed stays as it ended."""
    database = site.database
    jobs: list[SeriesJob] = []

    def accept(body_part: str = "CSPINE") -> SeriesJob:
        jobs.append(site.accept(body_part))
        return jobs[-1]

    def compared() -> bool:
        return (site.layout.root / "comparison.json").exists() and not unready_words(site.layout)

    with site.worker():
        site.ended(accept())
        failed = site.ended(accept("PELVIS"))
    database.copy()
    with site.worker():
        site.ended(accept())
        site.hold()
        accept()
        wait_for(lambda: len(site.begun()) == 4, "the engine works on the fourth study")
        accept()
    database.lose()
    site.let_go()
    with site.worker():
        wait_for(compared, "the queue knows all")
        after_loss = [site.ended(job) for job in jobs]
        site.ended(accept())
    database.restore()
    with site.worker():
        wait_for(compared, "the queue knows all again")
        after_restore = [site.ended(job) for job in jobs]

    states = [JobState.DELIVERED, JobState.FAILED, *[JobState.DELIVERED] * 4]
    assert [status.state for status in after_loss] == states[:5]
    assert [status.state for status in after_restore] == states
    assert "the pack for pelves is missing" in failed.sentence
    assert [after[1].sentence for after in (after_loss, after_restore)] == [failed.sentence] * 2
    assert site.archive.times == Counter(dict.fromkeys(site.archive.times, 1))
    assert len(site.archive.times) == 5
    assert len(site.begun()) == len(jobs) + 1, "only the study in the engine at the loss was begun twice"
