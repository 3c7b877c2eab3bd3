"""How the work of a worker that has died is taken over by those that live.

A workflow belongs to the executor that began it. The executor that comes back under the same name gets it back from
DBOS; one that does not come back is noticed by its heartbeat, which stands still.
"""

from dbos import DBOS

from app.jobs.layout import StorageLayout
from app.jobs.process import PulseWatch
from app.logs import get_logger

log = get_logger()


class TakingOver:
    """Looks after the other executors of the queue.

    Args:
        layout: where the heartbeats are.
        executor: the name of this one.
    """

    def __init__(self, layout: StorageLayout, executor: str) -> None:
        self._watch = PulseWatch(layout)
        self._executor = executor

    def look(self) -> int:
        """Put what executors that have died had begun back into its queue, and return how many workflows that is.

        Several workers may do it at once: a workflow that one of them has begun is no longer the dead one's.
        """
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        owners = {record.executor_id for record in pending if record.executor_id} - {self._executor}
        dead = [owner for owner in sorted(owners) if self._watch.is_dead(owner)]
        if not dead:
            return 0
        # The call behind DBOS's own recovery interface; its public one asks for a process that serves HTTP.
        handles = DBOS._recover_pending_workflows(dead)
        log.warning("work_taken_over", executors=dead, workflows=len(handles))
        return len(handles)
