"""The two durable workflows of a job. A step that has ended is never done again, not even after a crash.

process_series    run the engine · look at the results · enqueue the delivery
deliver_results   in delivering.py
"""

import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from dbos import DBOS

from app.delivery.destinations import needed_profiles
from app.jobs.claim import Claim, claim_of_this_work
from app.jobs.delivering import Delivery, Record
from app.jobs.ending import Ending, read_ending, write_ending
from app.jobs.history import note
from app.jobs.job import FINAL_STATES, STATE_SENTENCES, JobOutcome, JobState, SeriesJob
from app.jobs.json_only import plain_fault, told_plainly
from app.jobs.layout import PRIVATE_FOLDER, StorageLayout
from app.jobs.lineage import lineage_lock, read_lineage
from app.jobs.queue import DELIVERY_WORKFLOW, PROCESSING_WORKFLOW, enqueue_options
from app.jobs.results import EngineLost, Runner, check_results
from app.jobs.sent_instances import read_sent, write_sent
from app.jobs.space import NO_ROOM, is_full, wait_for_room
from app.jobs.versions import mark_version
from app.logs import get_logger
from app.settings import Settings
from models.errors import SpondylError

# The engine has a process of its own and cannot take the worker with it, so this is the power that fails again and
# again; after so many times the job is left alone.
MAXIMUM_RECOVERIES = 50

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
    @told_plainly
    def process_series(record: dict[str, Any]) -> Record:
        job = SeriesJob.from_mapping(record)
        return _ended(processing.layout, job, processing.run(job))

    @DBOS.workflow(name=DELIVERY_WORKFLOW)
    async def deliver_results(record: dict[str, Any], found: str) -> Record:
        try:
            return await delivery.run(SeriesJob.from_mapping(record), found)
        except Exception as fault:
            raise plain_fault(fault) from fault


class _Processing:
    def __init__(self, runner: Runner, settings: Settings) -> None:
        self._runner = runner
        self.layout = self._layout = StorageLayout(settings.storage.resolve())
        self._profiles = needed_profiles(settings.destinations)
        self._attempts = settings.workers.attempts

    def run(self, job: SeriesJob) -> JobOutcome:
        outcome = self._infer(job)
        if outcome.state is JobState.DELIVERING:
            outcome = _outcome(DBOS.run_step({"name": "verify"}, told_plainly(self.verify), job, outcome.sentence))
        if outcome.state is JobState.DELIVERING:
            DBOS.enqueue_workflow_with_options(enqueue_options(job, delivery=True), asdict(job), outcome.sentence)
        return outcome

    def _infer(self, job: SeriesJob) -> JobOutcome:
        """Run the engine, again in a fresh process where it is lost over this series."""
        outcome = JobOutcome(JobState.QUEUED, "")
        for attempt in range(1, self._attempts + 1):
            step = "infer" if attempt == 1 else f"infer, attempt {attempt}"
            outcome = _outcome(DBOS.run_step({"name": step}, told_plainly(self.infer), job))
            if outcome.state is not JobState.QUEUED:
                return outcome
        return JobOutcome(JobState.FAILED, f"Set aside after {self._attempts} attempts: {outcome.sentence}")

    def infer(self, job: SeriesJob) -> Record:
        """Run the engine; a fault is an answer too, so that the job can say what it was."""
        claim = claim_of_this_work()
        claim()
        ended = read_ending(self._layout, job.job_id)
        if ended is not None:  # before the queue was lost, or restored from an older copy
            return {**_record(ended.state, ended.sentence), "proof": ended.proof}
        if read_lineage(self._layout, job.lineage_name).is_superseded(job.job_id):
            return _record(JobState.SUPERSEDED, STATE_SENTENCES[JobState.SUPERSEDED])
        source = self._layout.job_input(job.job_id)
        kept = len(list(source.glob("*.dcm")))
        if kept < job.instance_count:
            words = f"{kept} of {job.instance_count} instances" if kept else "The instances"
            return _record(JobState.FAILED, f"{words} are {'' if kept else 'no longer '}kept: route the series again.")
        return self._with_room(job, claim, lambda: self._make(job, source, claim))

    def _make(self, job: SeriesJob, source: Path, claim: Claim) -> Record:
        making = self._layout.job_making(job.job_id) / str(DBOS.executor_id)
        shutil.rmtree(making, ignore_errors=True)
        targets = {profile: making / profile for profile in self._profiles}
        for folder in targets.values():
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
        note(self._layout, job.job_id, "engine_began", worker=DBOS.executor_id)
        record = self._ask_engine(job, source, targets)
        claim()  # another worker may have this job by now: what was made here is then nobody's
        output = self._layout.job_folder(job.job_id) / "output"
        shutil.rmtree(output, ignore_errors=True)
        making.rename(output)
        shutil.rmtree(self._layout.job_making(job.job_id), ignore_errors=True)
        return record

    def _with_room(self, job: SeriesJob, claim: Claim, work: Callable[[], Record]) -> Record:
        """Do a piece of work; where the disk was too full for it, do it again once there is room."""
        while True:
            record = None
            try:
                record = work()
            except OSError as fault:
                if fault.errno not in NO_ROOM:
                    raise
            if record is not None and (record["state"] != JobState.FAILED or not is_full(self._layout.root)):
                return record
            log.warning("disk_full", job=job.job_id, reason="the job goes on by itself once there is room")
            note(self._layout, job.job_id, "waits_for_room")
            wait_for_room(self._layout.root, claim)

    def _ask_engine(self, job: SeriesJob, source: Path, targets: Mapping[str, Path]) -> Record:
        try:
            answer = self._runner(source, targets)
        except EngineLost as loss:
            log.error("engine_lost", job=job.job_id, reason=str(loss))
            note(self._layout, job.job_id, "engine_lost", worker=DBOS.executor_id, reason=str(loss))
            return _record(JobState.QUEUED, str(loss))
        except SpondylError as fault:
            return _record(JobState.FAILED, str(fault))
        except Exception as fault:  # told by its place only: its words may quote the header of the patient
            frames = traceback.extract_tb(fault.__traceback__)
            places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
            log.error("engine_fault", job=job.job_id, fault=type(fault).__name__, places=places)
            return _record(JobState.FAILED, f"{type(fault).__name__} in {places[-1]}; the log has the way there.")
        return _record(STATE_AFTER[answer.decision], answer.sentence)

    def verify(self, job: SeriesJob, sentence: str) -> Record:
        """Look at the results of every encoding, and put down what is about to leave the node."""
        claim = claim_of_this_work()
        return self._with_room(job, claim, lambda: self._look_at_results(job, sentence, claim))

    def _look_at_results(self, job: SeriesJob, sentence: str, claim: Claim) -> Record:
        outputs = [self._layout.job_output(job.job_id, profile) for profile in self._profiles]
        try:
            for output in outputs:
                check_results(output, job.study_instance_uid)
        except SpondylError as fault:
            return _record(JobState.FAILED, str(fault))
        with lineage_lock(self._layout):  # so that of two versions at the same time the later one knows of the other
            lineage = read_lineage(self._layout, job.lineage_name)
            if lineage.is_superseded(job.job_id):
                return _record(JobState.SUPERSEDED, STATE_SENTENCES[JobState.SUPERSEDED])
            earlier = [each for job_id in lineage.before(job.job_id) for each in read_sent(self._layout, job_id)]
            claim()
            to_send = mark_version(outputs, job.version, earlier)
            write_sent(self._layout, job.job_id, to_send)
        if not to_send:
            return _record(JobState.DELIVERED, f"{sentence}. All results were sent for an earlier version.")
        return _record(JobState.DELIVERING, f"{sentence}; version {job.version}" if earlier else sentence)


def _record(state: JobState, sentence: str) -> Record:
    return {"state": state.value, "sentence": sentence}


def _outcome(record: Mapping[str, str]) -> JobOutcome:
    return JobOutcome(JobState(record["state"]), record["sentence"], record.get("proof", ""))


def _ended(layout: StorageLayout, job: SeriesJob, outcome: JobOutcome) -> Record:
    claim_of_this_work()()
    if outcome.state in FINAL_STATES and read_ending(layout, job.job_id) is None:
        now = datetime.now(UTC).isoformat()
        write_ending(layout, job.job_id, Ending(outcome.state, outcome.sentence, outcome.proof, now))
    log.info("job_phase_ended", job=job.job_id, state=outcome.state.value, reason=outcome.sentence)
    return {**_record(outcome.state, outcome.sentence), "proof": outcome.proof}
