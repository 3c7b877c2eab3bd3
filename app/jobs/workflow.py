"""The two durable workflows of a job. A step that has ended is never done again, not even after a crash.

process_series    run the engine · look at the results · enqueue the delivery
deliver_results   each destination in turn, again and again with growing pauses, until each instance
                  is stored or refused for good
"""

import shutil
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from dbos import DBOS

from app.delivery.destinations import Fate, needed_profiles
from app.delivery.storage_scu import Peer, read_instances, store
from app.jobs.job import JobOutcome, JobState, SeriesJob
from app.jobs.layout import PRIVATE_FOLDER, StorageLayout
from app.jobs.queue import DELIVERY_WORKFLOW, PROCESSING_WORKFLOW, enqueue_options
from app.jobs.results import Runner, check_results, result_files
from app.logs import get_logger
from app.settings import Settings
from models.errors import SpondylError

# A series that kills the worker this often is left alone, so that the others get their turn.
MAXIMUM_RECOVERIES = 3

# Seconds before a destination is asked again: some twelve hours in all.
DELIVERY_PAUSES_S = (2, 5, 15, 60, 300, 900, *(3600,) * 12)

STATE_AFTER: Mapping[str, JobState] = MappingProxyType(
    {"segmented": JobState.DELIVERING, "skipped": JobState.SKIPPED, "refused": JobState.REFUSED}
)

# What DBOS keeps between steps is JSON: SOP Instance UID, fate, sentence.
Record = dict[str, str]

log = get_logger()


def register_workflows(runner: Runner, settings: Settings) -> None:
    """Register both workflows with DBOS; call it once per process, before `DBOS.launch()`.

    Args:
        runner: does the work on one series.
        settings: of the node.
    """
    processing = _Processing(runner, settings)
    delivery = _Delivery(settings)

    @DBOS.workflow(name=PROCESSING_WORKFLOW, max_recovery_attempts=MAXIMUM_RECOVERIES)
    def process_series(record: dict[str, Any]) -> Record:
        return _ended(record, processing.run(SeriesJob.from_mapping(record)))

    @DBOS.workflow(name=DELIVERY_WORKFLOW)
    def deliver_results(record: dict[str, Any], found: str) -> Record:
        return _ended(record, delivery.run(SeriesJob.from_mapping(record), found))


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


class _Delivery:
    def __init__(self, settings: Settings) -> None:
        self._layout = StorageLayout(settings.storage.resolve())
        self._destinations = {destination.name: destination for destination in settings.destinations}
        self._ae_title = settings.node.ae_title

    def run(self, job: SeriesJob, found: str) -> JobOutcome:
        # A step, so that a worker that takes over replays the same destinations.
        names = DBOS.run_step({"name": "choose_destinations"}, self.names)
        fates: dict[str, list[Record]] = {name: [] for name in names}
        for pause in (*DELIVERY_PAUSES_S, None):
            for name in names:
                if not fates[name] or _has(Fate.POSTPONED, fates[name]):
                    settled = [record["uid"] for record in fates[name] if record["fate"] != Fate.POSTPONED]
                    newer = DBOS.run_step({"name": f"deliver to {name}"}, self.deliver, job, name, settled)
                    fates[name] = _merged(fates[name], newer)
            if pause is None or not any(_has(Fate.POSTPONED, records) for records in fates.values()):
                break
            DBOS.sleep(pause)
        return _verdict(found, fates)

    def names(self) -> list[str]:
        """Return the names of the destinations, in the order of the settings."""
        return list(self._destinations)

    def deliver(self, job: SeriesJob, name: str, settled: Sequence[str]) -> list[Record]:
        """Send one destination what it has neither stored nor refused yet."""
        destination = self._destinations.get(name)
        if destination is None:
            return [_fate("-", Fate.REFUSED, f"{name} is no longer in the settings")]
        files = result_files(self._layout.job_output(job.job_id, destination.profile))
        instances = [instance for instance in read_instances(files) if instance.sop_instance_uid not in settled]
        if not instances:
            return [_fate("-", Fate.REFUSED, "the results are no longer kept: retry from the start")]
        peer = Peer(destination.ae_title, destination.host, destination.port)
        outcomes = store(instances, peer, calling_ae_title=self._ae_title)
        for outcome in outcomes:
            ids = {"job": job.job_id, "destination": name, "sop_instance_uid": outcome.sop_instance_uid}
            log.info(f"result_{outcome.fate}", **ids)
        return [_fate(outcome.sop_instance_uid, outcome.fate, outcome.sentence) for outcome in outcomes]


def _verdict(found: str, fates: Mapping[str, Sequence[Record]]) -> JobOutcome:
    """Say what was found and how its delivery ended; only a per-instance success is a success."""
    if not fates:
        kept = "no destination is configured, the results stay in the job's folder"
        return JobOutcome(JobState.DELIVERED, f"{found}. {kept}.")
    unstored = {
        name: [record for record in records if record["fate"] != Fate.STORED] for name, records in fates.items()
    }
    words = [
        f"{name}: {len(records) - len(unstored[name])} of {len(records)} instances stored"
        + "".join(f"; {record['uid']}: {record['sentence']}" for record in unstored[name])
        for name, records in fates.items()
    ]
    state = JobState.FAILED if any(unstored.values()) else JobState.DELIVERED
    return JobOutcome(state, ". ".join((found, *words)) + ".")


def _merged(older: Sequence[Record], newer: Sequence[Record]) -> list[Record]:
    return list({record["uid"]: record for record in (*older, *newer)}.values())


def _has(fate: Fate, records: Sequence[Record]) -> bool:
    return any(record["fate"] == fate for record in records)


def _fate(uid: str, fate: Fate, sentence: str) -> Record:
    return {"uid": uid, "fate": fate.value, "sentence": sentence}


def _record(state: JobState, sentence: str) -> Record:
    return {"state": state.value, "sentence": sentence}


def _outcome(record: Mapping[str, str]) -> JobOutcome:
    return JobOutcome(JobState(record["state"]), record["sentence"])


def _ended(job: Mapping[str, Any], outcome: JobOutcome) -> Record:
    log.info("job_phase_ended", job=job["job_id"], state=outcome.state.value, reason=outcome.sentence)
    return _record(outcome.state, outcome.sentence)
