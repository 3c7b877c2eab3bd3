"""The second workflow of a job: bring the results to every destination whose rule takes them, and have it proven.

Each destination has a clock of its own: it is tried again with growing pauses, until each instance is stored or refused
for good and it is known that the destination keeps them, and one that hangs delays no other. While it waits, a delivery
is a sleeping coroutine: it holds no thread and no place in the queue.

How far each destination is lies in the job's folder (`app.jobs.delivery_journal`) rather than in steps of the workflow:
steps are numbered in the order in which they begin, which that of several destinations at once is not.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from dbos import DBOS
from dbos import error as dbos_error

from app.delivery.channels import Proof, prove_at, store_at
from app.delivery.destinations import Fate, takes
from app.delivery.instances import InstanceOutcome, InstanceToSend, read_instances
from app.delivery.lanes import Lanes, aside, pause, together
from app.delivery.made_by import engines_of
from app.delivery.result_classes import profile_at
from app.jobs.claim import Claim, claim_of_this_work, no_claim
from app.jobs.commitments import CommitmentRecords
from app.jobs.courses import OPEN_FATES, Course, begun, ended, has, remaining_pause, tried, verdict, words_of
from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.ending import Ending, read_ending, write_ending
from app.jobs.history import note
from app.jobs.job import JobState, SeriesJob
from app.jobs.json_only import told_plainly
from app.jobs.layout import StorageLayout
from app.jobs.queue import delivery_id
from app.jobs.results import result_files
from app.jobs.space import NO_ROOM
from app.logs import get_logger
from app.peer_settings import Destination, WebDestination
from app.settings import Settings
from models.errors import SpondylError

KEPT_PROOFS = frozenset({"proven", "trusted"})

# What DBOS keeps of a delivery, as JSON: state, sentence, proof.
Record = dict[str, Any]

log = get_logger()


def _is_cancelled(workflow_id: str) -> bool:
    status = DBOS.get_workflow_status(workflow_id)
    return status is not None and status.status == "CANCELLED"


class Delivery:
    """Brings the results of a job to the destinations of the settings.

    Args:
        settings: of the node.
        is_cancelled: says of a workflow whether an administrator stopped it; called in a thread of its own.
    """

    def __init__(self, settings: Settings, is_cancelled: Callable[[str], bool] = _is_cancelled) -> None:
        self._layout = StorageLayout(settings.storage.resolve())
        self._destinations = {destination.name: destination for destination in settings.destinations}
        self._ae_title = settings.node.ae_title
        self._packs = settings.packs
        self._commitments = CommitmentRecords(self._layout)
        self._lanes = Lanes()
        self._is_cancelled = is_cancelled

    async def run(self, job: SeriesJob, found: str) -> Record:
        """Deliver until nothing is open or the pauses are over; call it inside a workflow.

        Args:
            job: whose results lie in its folder.
            found: what the engine's answer says, the beginning of the job's sentence.

        Returns:
            `state` and `sentence` of the job, and `proof`: see `is_proven`.

        Raises:
            DBOSWorkflowCancelledError: an administrator stopped the job, or another worker has it.
        """
        # A step, so that a worker that takes over goes on with the same destinations.
        names = await DBOS.run_step_async({"name": "choose_destinations"}, told_plainly(self.choose), job)
        claim = claim_of_this_work()
        journal = DeliveryJournal(self._layout, job.job_id)
        run, known = journal.begin_run(), journal.courses()
        ended_ones = await together([self._bring(job, name, known.get(name, begun()), run, claim) for name in names])
        courses = dict(zip(names, ended_ones, strict=True))
        outcome = self._ended(job, verdict(found, courses, now=time.time()), claim)
        log.info("job_phase_ended", job=job.job_id, state=outcome["state"], reason=outcome["sentence"])
        return outcome

    async def _bring(self, job: SeriesJob, name: str, course: Course, run: str, claim: Claim) -> Course:
        """Try one destination until nothing is open there or the pauses are over, and return how far it came."""
        while (waiting := remaining_pause(course, now=time.time())) is not None:
            await pause(waiting)
            if await aside(self._is_over, job, run):  # in this context DBOS would count the question as a step
                raise dbos_error.DBOSWorkflowCancelledError(f"the delivery of {job.job_id} was stopped or taken over")
            course = await self._lanes.run(name, self._try, job, name, course, claim)
        return course

    def _is_over(self, job: SeriesJob, run: str) -> bool:
        is_taken_over = DeliveryJournal(self._layout, job.job_id).is_taken_over(run)
        return is_taken_over or self._is_cancelled(delivery_id(job.job_id))

    def _try(self, job: SeriesJob, name: str, course: Course, claim: Claim = no_claim) -> Course:
        """Attempt once, whatever comes of it, and put down how far the destination is now."""
        try:
            course = self.attempt(job, name, {**course, "fault": ""}, claim)
        except dbos_error.DBOSWorkflowConflictIDError:  # another worker has the job now
            raise
        except Exception as fault:  # told by its place only: its words may quote the header of a result
            frames = traceback.extract_tb(fault.__traceback__)
            places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
            log.error("delivery_fault", job=job.job_id, destination=name, fault=type(fault).__name__, places=places)
            course = tried({**course, "fault": _fault_words(fault, places[-1])}, _what(course), now=time.time())
        DeliveryJournal(self._layout, job.job_id).keep_course(name, course)
        words = words_of({name: course}, now=time.time())
        note(self._layout, job.job_id, "delivery_tried", words=words)
        log.info("delivery_tried", job=job.job_id, destination=name, reason=words)
        return course

    def choose(self, job: SeriesJob) -> list[str]:
        """Return the names of the destinations whose rule takes the job's results, in the order of the settings."""
        journal = DeliveryJournal(self._layout, job.job_id)
        names = [
            name
            for name, destination in self._destinations.items()
            if takes(
                destination.when,
                modality=job.modality,
                calling_ae_title=job.calling_ae_title,
                engines=lambda profile=destination.profile: self._engines(job, profile),  # type: ignore[misc]
            )
        ]
        known = journal.courses()  # of a queue that was lost; a retry has cleared them
        for name in names:
            if name not in known:
                journal.keep_course(name, begun())  # so that it is told that they are waited for
        return names

    def _ended(self, job: SeriesJob, outcome: Record, claim: Claim) -> Record:
        """Put down how a delivery ended, or return what was put down before the queue was lost or restored."""
        claim()
        known = read_ending(self._layout, job.job_id)
        if known is not None:
            return {"state": known.state.value, "sentence": known.sentence, "proof": known.proof}
        state, now = JobState(outcome["state"]), datetime.now(UTC).isoformat()
        write_ending(self._layout, job.job_id, Ending(state, outcome["sentence"], outcome["proof"], now))
        return outcome

    def attempt(self, job: SeriesJob, name: str, course: Course, claim: Claim = no_claim) -> Course:
        """Send one destination what it has neither stored nor refused yet, then ask it for proof.

        Args:
            job: whose results lie in its folder.
            name: of the destination.
            course: what came of it before.
            claim: asked before anything is sent.
        """
        claim()
        if read_ending(self._layout, job.job_id) is not None:
            return ended(course, "its delivery had ended")
        destination = self._destinations.get(name)
        if destination is None:
            return ended(course, f"{name} is no longer in the settings")
        course = self._with_profile(job, destination, course)
        profile = course.get("profile") or destination.profile
        instances = read_instances(result_files(self._layout.job_output(job.job_id, profile)))
        if not instances:
            return ended(course, "the results are no longer kept: retry from the start")
        fates = {**course["instances"], **self._stored_before_a_crash(job, name, course)}
        unsettled = [each for each in instances if fates.get(each.sop_instance_uid, [Fate.POSTPONED])[0] in OPEN_FATES]
        journal = DeliveryJournal(self._layout, job.job_id)

        def put_down(outcome: InstanceOutcome) -> None:
            if outcome.fate is Fate.STORED:
                journal.note(name, outcome.sop_instance_uid)
            ids = {"job": job.job_id, "destination": name, "sop_instance_uid": outcome.sop_instance_uid}
            log.info(f"result_{outcome.fate}", **ids)
            claim()  # before the next one is sent

        outcomes = store_at(destination, unsettled, calling_ae_title=self._ae_title, on_outcome=put_down)
        fates.update({each.sop_instance_uid: [each.fate.value, each.sentence] for each in outcomes})
        return self._proved(job, name, {**course, "instances": fates}, instances)

    def _with_profile(self, job: SeriesJob, destination: Destination | WebDestination, course: Course) -> Course:
        """Settle on an encoding that the destination takes, before it stores the first instance."""
        if course.get("profile") or has(course, Fate.STORED):
            return course
        try:
            profile, note = profile_at(destination, calling_ae_title=self._ae_title)
        except SpondylError:  # the C-STORE meets it as well, and says of each instance that it waits
            return course
        if not result_files(self._layout.job_output(job.job_id, profile)):  # of a version that wrote one encoding
            profile, note = destination.profile, ""
        return {**course, "profile": profile, "note": note, "instances": {}}

    def _proved(self, job: SeriesJob, name: str, course: Course, instances: Sequence[InstanceToSend]) -> Course:
        """Return the course of a destination after it was asked for proof, where there is something to prove."""
        fates = course["instances"]
        now = time.time()
        if has(course, *OPEN_FATES):
            return tried(course, "deliveries", now=now)
        course = {**course, "stored_at": course["stored_at"] or now}
        stored = [each for each in instances if fates[each.sop_instance_uid][0] == Fate.STORED]
        if not stored:
            return {**course, "proof": asdict(Proof("unavailable", "nothing was stored"))}
        earlier = Proof(**course["proof"]) if course["proof"] else None
        proof = prove_at(
            self._destinations[name],
            stored,
            earlier,
            calling_ae_title=self._ae_title,
            records=self._commitments,
        )
        log.info(f"delivery_{proof.state}", job=job.job_id, destination=name, reason=proof.sentence)
        if proof.state == "missing":
            DeliveryJournal(self._layout, job.job_id).strike(name, proof.missing)
            lost = {uid: [Fate.POSTPONED.value, proof.sentence] for uid in proof.missing}
            lost_again = {**course, "instances": {**fates, **lost}, "proof": None, "stored_at": 0.0}
            return tried(lost_again, "deliveries", now=time.time())
        proven_at = time.time() if proof.state == "proven" else 0.0
        return tried({**course, "proof": asdict(proof), "proven_at": proven_at}, "proofs", now=time.time())

    def _stored_before_a_crash(self, job: SeriesJob, name: str, course: Course) -> Mapping[str, list[str]]:
        noted = DeliveryJournal(self._layout, job.job_id).stored(name)
        known = {uid for uid, (fate, _) in course["instances"].items() if fate == Fate.STORED}
        return {uid: [Fate.STORED.value, "stored before this worker began"] for uid in noted - known}

    def _engines(self, job: SeriesJob, profile: str) -> frozenset[str]:
        return engines_of(result_files(self._layout.job_output(job.job_id, profile)), self._packs)


def is_proven(record: Mapping[str, Any]) -> bool:
    """Say of what a delivery returned whether every destination keeps every result (or is believed to)."""
    return record.get("proof") in KEPT_PROOFS


def _what(course: Course) -> str:
    """Return what the next try of a destination is about."""
    return "deliveries" if has(course, *OPEN_FATES) or not course["instances"] else "proofs"


def _fault_words(fault: Exception, place: str) -> str:
    if isinstance(fault, OSError) and fault.errno in NO_ROOM:
        return "the disk of this node is full: make room, then it goes on by itself"
    return f"{type(fault).__name__} in {place}; the log has the way there"
