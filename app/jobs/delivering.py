"""The second workflow of a job: bring the results to every destination.

Each destination in turn, again and again with growing pauses, until each instance is stored or refused for good.
"""

from collections.abc import Mapping, Sequence

from dbos import DBOS

from app.delivery.destinations import Fate
from app.delivery.storage_scu import Peer, read_instances, store
from app.jobs.job import JobOutcome, JobState, SeriesJob
from app.jobs.layout import StorageLayout
from app.jobs.results import result_files
from app.logs import get_logger
from app.settings import Settings

# Seconds before a destination is asked again: some twelve hours in all.
DELIVERY_PAUSES_S = (2, 5, 15, 60, 300, 900, *(3600,) * 12)

# What DBOS keeps between steps is JSON: SOP Instance UID, fate, sentence.
Record = dict[str, str]

log = get_logger()


class Delivery:
    """Brings the results of a job to the destinations of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._layout = StorageLayout(settings.storage.resolve())
        self._destinations = {destination.name: destination for destination in settings.destinations}
        self._ae_title = settings.node.ae_title

    def run(self, job: SeriesJob, found: str) -> JobOutcome:
        """Deliver until nothing is postponed or the pauses are over; call it inside a workflow.

        Args:
            job: whose results lie in its folder.
            found: what the engine's answer says, the beginning of the job's sentence.
        """
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
