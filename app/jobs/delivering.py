"""The second workflow of a job: bring the results to every destination whose rule takes them, and have it proven.

Each destination is tried again on its own, with growing pauses, until each instance is stored or refused for good and
it is known that the destination keeps them. While it waits, a delivery is a sleeping coroutine: it holds no thread and
no place in the queue, so one destination that is down for days delays nobody else.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from dbos import DBOS

from app.delivery.channels import Proof, prove_at, store_at
from app.delivery.destinations import Fate, takes
from app.delivery.instances import InstanceOutcome, InstanceToSend, read_instances
from app.delivery.lanes import Lanes, together
from app.delivery.made_by import engines_of
from app.delivery.result_classes import profile_at
from app.jobs.claim import Claim, claim_of_this_work, no_claim
from app.jobs.commitments import CommitmentRecords
from app.jobs.delivery_journal import DeliveryJournal
from app.jobs.ending import Ending, read_ending, write_ending
from app.jobs.job import JobState, SeriesJob
from app.jobs.json_only import told_plainly
from app.jobs.layout import StorageLayout
from app.jobs.results import result_files
from app.logs import get_logger
from app.peer_settings import Destination, WebDestination
from app.settings import Settings
from models.errors import SpondylError

# Seconds before a destination is asked again: three days and two hours in all.
PAUSES_S = (2, 5, 15, 60, 300, 900, *(3600,) * 74)
SETTLED_PROOFS = frozenset({"proven", "trusted", "unavailable"})
KEPT_PROOFS = frozenset({"proven", "trusted"})

# What DBOS keeps between steps is JSON. Of a delivery: state, sentence, proof. Of a destination: see `begun`.
Record = dict[str, Any]

log = get_logger()


class Delivery:
    """Brings the results of a job to the destinations of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._layout = StorageLayout(settings.storage.resolve())
        self._destinations = {destination.name: destination for destination in settings.destinations}
        self._ae_title = settings.node.ae_title
        self._packs = settings.packs
        self._commitments = CommitmentRecords(self._layout)
        self._lanes = Lanes()

    async def run(self, job: SeriesJob, found: str) -> Record:
        """Deliver until nothing is open or the pauses are over; call it inside a workflow.

        Args:
            job: whose results lie in its folder.
            found: what the engine's answer says, the beginning of the job's sentence.

        Returns:
            `state` and `sentence` of the job, and `proof`: see `is_proven`.
        """
        # A step, so that a worker that takes over replays the same destinations.
        names = await DBOS.run_step_async({"name": "choose_destinations"}, told_plainly(self.choose), job)
        courses = {name: begun() for name in names}
        while open_names := [name for name in names if _due(courses[name]) is not None]:
            first = min(_due(courses[name]) or 0.0 for name in open_names)
            if first > 0:
                await DBOS.sleep_async(max(0.01, first - time.time()))
            now_due = [name for name in open_names if (_due(courses[name]) or 0.0) <= first]
            # Steps are numbered in the order in which they begin: that of the names, in every replay.
            answers = await together([self._attempt(job, name, courses[name]) for name in now_due])
            courses.update(zip(now_due, answers, strict=True))
        outcome = self._ended(job, _verdict(found, courses))
        log.info("job_phase_ended", job=job.job_id, state=outcome["state"], reason=outcome["sentence"])
        return outcome

    def choose(self, job: SeriesJob) -> list[str]:
        """Return the names of the destinations whose rule takes the job's results, in the order of the settings."""
        return [
            name
            for name, destination in self._destinations.items()
            if takes(
                destination.when,
                modality=job.modality,
                calling_ae_title=job.calling_ae_title,
                engines=lambda profile=destination.profile: self._engines(job, profile),  # type: ignore[misc]
            )
        ]

    def _ended(self, job: SeriesJob, outcome: Record) -> Record:
        """Put down how a delivery ended, or return what was put down before the queue was lost or restored."""
        claim_of_this_work()()
        known = read_ending(self._layout, job.job_id)
        if known is not None:
            return {"state": known.state.value, "sentence": known.sentence, "proof": known.proof}
        state, now = JobState(outcome["state"]), datetime.now(UTC).isoformat()
        write_ending(self._layout, job.job_id, Ending(state, outcome["sentence"], outcome["proof"], now))
        return outcome

    def attempt(self, job: SeriesJob, name: str, course: Record, claim: Claim = no_claim) -> Record:
        """Send one destination what it has neither stored nor refused yet, then ask it for proof.

        Args:
            job: whose results lie in its folder.
            name: of the destination.
            course: what came of it before.
            claim: asked before anything is sent.
        """
        claim()
        if read_ending(self._layout, job.job_id) is not None:
            return _ended_course(course, "its delivery had ended")
        destination = self._destinations.get(name)
        if destination is None:
            return _ended_course(course, f"{name} is no longer in the settings")
        course = self._with_profile(job, destination, course)
        profile = course.get("profile") or destination.profile
        instances = read_instances(result_files(self._layout.job_output(job.job_id, profile)))
        if not instances:
            return _ended_course(course, "the results are no longer kept: retry from the start")
        fates = {**course["instances"], **self._stored_before_a_crash(job, name, course)}
        unsettled = [each for each in instances if fates.get(each.sop_instance_uid, [Fate.POSTPONED])[0] == "postponed"]
        journal = DeliveryJournal(self._layout, job.job_id)

        def note(outcome: InstanceOutcome) -> None:
            if outcome.fate is Fate.STORED:
                journal.note(name, outcome.sop_instance_uid)
            ids = {"job": job.job_id, "destination": name, "sop_instance_uid": outcome.sop_instance_uid}
            log.info(f"result_{outcome.fate}", **ids)
            claim()  # before the next one is sent

        outcomes = store_at(destination, unsettled, calling_ae_title=self._ae_title, on_outcome=note)
        fates.update({each.sop_instance_uid: [each.fate.value, each.sentence] for each in outcomes})
        return self._proved(job, name, {**course, "instances": fates}, instances)

    def _with_profile(self, job: SeriesJob, destination: Destination | WebDestination, course: Record) -> Record:
        """Settle on an encoding that the destination takes, before it stores the first instance."""
        if course.get("profile") or _has(Fate.STORED, course):
            return course
        try:
            profile, note = profile_at(destination, calling_ae_title=self._ae_title)
        except SpondylError:  # the C-STORE meets it as well, and says of each instance that it waits
            return course
        if not result_files(self._layout.job_output(job.job_id, profile)):  # of a version that wrote one encoding
            profile, note = destination.profile, ""
        return {**course, "profile": profile, "note": note, "instances": {}}

    async def _attempt(self, job: SeriesJob, name: str, course: Record) -> Record:
        async def in_its_lane() -> Record:
            claim = claim_of_this_work()
            return await self._lanes.run(name, told_plainly(self.attempt), job, name, course, claim)

        return await DBOS.run_step_async({"name": f"deliver to {name}"}, in_its_lane)

    def _proved(self, job: SeriesJob, name: str, course: Record, instances: Sequence[InstanceToSend]) -> Record:
        """Return the course of a destination after it was asked for proof, where there is something to prove."""
        fates = course["instances"]
        if _has(Fate.POSTPONED, course):
            return _tried(course, "deliveries")
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
            return _tried({**course, "instances": {**fates, **lost}, "proof": None}, "deliveries")
        return _tried({**course, "proof": asdict(proof)}, "proofs")

    def _stored_before_a_crash(self, job: SeriesJob, name: str, course: Record) -> Mapping[str, list[str]]:
        noted = DeliveryJournal(self._layout, job.job_id).stored(name)
        known = {uid for uid, (fate, _) in course["instances"].items() if fate == Fate.STORED}
        return {uid: [Fate.STORED.value, "stored before this worker began"] for uid in noted - known}

    def _engines(self, job: SeriesJob, profile: str) -> frozenset[str]:
        return engines_of(result_files(self._layout.job_output(job.job_id, profile)), self._packs)


def is_proven(record: Mapping[str, Any]) -> bool:
    """Say of what a delivery returned whether every destination keeps every result (or is believed to)."""
    return record.get("proof") in KEPT_PROOFS


def begun() -> Record:
    """Return the course of a destination that has not been tried yet.

    instances: SOP Instance UID → fate and sentence. proof: of `Proof`, once it was asked for.
    deliveries, proofs: how often each was tried without coming to its end. at: when last, seconds since the epoch.
    profile: the encoding that was settled on; note: why it is not that of the settings.
    """
    return {
        "profile": "",
        "note": "",
        "instances": {},
        "proof": None,
        "deliveries": 0,
        "proofs": 0,
        "at": 0.0,
        "ended": "",
    }


def _tried(course: Record, what: str) -> Record:
    return {**course, what: course[what] + 1, "at": time.time()}


def _ended_course(course: Record, sentence: str) -> Record:
    return {**course, "ended": sentence}


def _due(course: Record) -> float | None:
    """Return when a destination is to be tried again, 0 for at once; None where nothing is open or it took too long."""
    tries = course["deliveries"] + course["proofs"]
    if course["ended"] or (course["proof"] and course["proof"]["state"] in SETTLED_PROOFS):
        return None
    if not tries:
        return 0.0
    tries = course["deliveries"] if _has(Fate.POSTPONED, course) else course["proofs"]
    return float(course["at"]) + PAUSES_S[tries - 1] if tries <= len(PAUSES_S) else None


def _verdict(found: str, courses: Mapping[str, Record]) -> Record:
    """Say what was found and how its delivery ended; only a per-instance success is a success."""
    if not courses:
        kept = "no destination takes these results, they stay in the job's folder"
        return {"state": JobState.DELIVERED.value, "sentence": f"{found}. {kept}.", "proof": "unavailable"}
    sentence = ". ".join((found, *(f"{name}: {_words(course)}" for name, course in courses.items())))
    stored = all(_is_stored(course) for course in courses.values())
    proofs = {course["proof"]["state"] if course["proof"] else "unavailable" for course in courses.values()}
    proof = next((state for state in ("missing", "unavailable", "waiting", "trusted") if state in proofs), "proven")
    state = JobState.DELIVERED if stored else JobState.FAILED
    return {"state": state.value, "sentence": f"{sentence}.", "proof": proof}


def _words(course: Record) -> str:
    fates = course["instances"]
    unstored = {uid: sentence for uid, (fate, sentence) in fates.items() if fate != Fate.STORED}
    words = [f"{len(fates) - len(unstored)} of {len(fates)} instances stored"]
    words += [part for part in (course.get("note"), course["ended"]) if part]
    words += [f"{uid}: {sentence}" for uid, sentence in unstored.items()]
    proof = course["proof"]
    if proof and len(unstored) < len(fates) and proof["state"] != "trusted":
        words.append(proof["sentence"] if proof["state"] == "proven" else f"not proven: {proof['sentence']}")
    return "; ".join(words)


def _is_stored(course: Record) -> bool:
    return not course["ended"] and all(fate == Fate.STORED for fate, _ in course["instances"].values())


def _has(fate: Fate, course: Record) -> bool:
    return any(found == fate for found, _ in course["instances"].values())
