"""The two durable workflows of a job. A step that has ended is never done again, not even after a crash.

process_series    run the engine · look at the results · enqueue the delivery
deliver_results   in delivering.py
"""

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from dbos import DBOS

from app.delivery.destinations import needed_profiles
from app.jobs.delivering import Delivery, Record
from app.jobs.job import JobOutcome, JobState, SeriesJob
from app.jobs.layout import PRIVATE_FOLDER, StorageLayout
from app.jobs.queue import DELIVERY_WORKFLOW, PROCESSING_WORKFLOW, enqueue_options
from app.jobs.results import Runner, check_results
from app.logs import get_logger
from app.settings import Settings
from models.errors import SpondylError

# A series that kills the worker this often is left alone, so that the others get their turn.
MAXIMUM_RECOVERIES = 3

STATE_AFTER: Mapping[str, JobState] = MappingProxyType(
    {"segmented": JobState.DELIVERING, "skipped": JobState.SKIPPED, "refused": JobState.REFUSED}
)

log = get_logger()


def register_workflows(runner: Runner, settings: Settings) -> None:
    """Register both workflows with DBOS; call it once per process, before `DBOS.launch()`.

    Args:
        runner: does the work on one series.
        settings: of the node.
    """
    processing = _Processing(runner, settings)
    delivery = Delivery(settings)

    @DBOS.workflow(name=PROCESSING_WORKFLOW, max_recovery_attempts=MAXIMUM_RECOVERIES)
    def process_series(record: dict[str, Any]) -> Record:
        return _ended(record, processing.run(SeriesJob.from_mapping(record)))

    @DBOS.workflow(name=DELIVERY_WORKFLOW)
    async def deliver_results(record: dict[str, Any], found: str) -> Record:
        return await delivery.run(SeriesJob.from_mapping(record), found)


class _Processing:
    def __init__(self, runner: Runner, settings: Settings) -> None:
        self._runner = runner
        self._layout = StorageLayout(settings.storage.resolve())
        self._profiles = needed_profiles(settings.destinations)

    def run(self, job: SeriesJob) -> JobOutcome:
        outcome = _outcome(DBOS.run_step({"name": "infer"}, self.infer, job))
        if outcome.state is JobState.DELIVERING:
            outcome = _outcome(DBOS.run_step({"name": "verify"}, self.verify, job, outcome.sentence))
        if outcome.state is JobState.DELIVERING:
            DBOS.enqueue_workflow_with_options(enqueue_options(job, delivery=True), asdict(job), outcome.sentence)
        return outcome

    def infer(self, job: SeriesJob) -> Record:
        """Run the engine; a fault is an answer too, so that the job can say what it was."""
        source = self._layout.job_input(job.job_id)
        if not source.is_dir():
            return _record(JobState.FAILED, "The instances are no longer kept: route the study again.")
        shutil.rmtree(self._layout.job_folder(job.job_id) / "output", ignore_errors=True)
        targets = {profile: self._layout.job_output(job.job_id, profile) for profile in self._profiles}
        for folder in targets.values():
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
        try:
            answer = self._runner(source, targets)
        except SpondylError as fault:
            return _record(JobState.FAILED, str(fault))
        except Exception as fault:  # told by its place only: its words may quote the header of the patient
            frames = traceback.extract_tb(fault.__traceback__)
            places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
            log.error("engine_fault", job=job.job_id, fault=type(fault).__name__, places=places)
            return _record(JobState.FAILED, f"{type(fault).__name__} in {places[-1]}; the log has the way there.")
        return _record(STATE_AFTER[answer.decision], answer.sentence)

    def verify(self, job: SeriesJob, sentence: str) -> Record:
        """Look at the results of every encoding before any leaves the node."""
        try:
            for profile in self._profiles:
                check_results(self._layout.job_output(job.job_id, profile), job.study_instance_uid)
        except SpondylError as fault:
            return _record(JobState.FAILED, str(fault))
        return _record(JobState.DELIVERING, sentence)


def _record(state: JobState, sentence: str) -> Record:
    return {"state": state.value, "sentence": sentence}


def _outcome(record: Mapping[str, str]) -> JobOutcome:
    return JobOutcome(JobState(record["state"]), record["sentence"])


def _ended(job: Mapping[str, Any], outcome: JobOutcome) -> Record:
    log.info("job_phase_ended", job=job["job_id"], state=outcome.state.value, reason=outcome.sentence)
    return _record(outcome.state, outcome.sentence)
