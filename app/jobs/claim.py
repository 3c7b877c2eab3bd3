"""Whether a piece of work still belongs to the worker that does it.

A worker that stood still (a suspended machine, a heartbeat that could not be written) counts as dead, and another one
begins its work again. DBOS notices that when a step is recorded; by then files are written and results are sent. So
each step asks before it writes or sends anything.
"""

from collections.abc import Callable

from dbos import DBOS
from dbos._context import get_local_dbos_context
from dbos._dbos import _get_dbos_instance
from dbos._error import DBOSWorkflowConflictIDError

from app.logs import get_logger

# Raises `DBOSWorkflowConflictIDError`, by which DBOS ends an execution and records nothing of it.
Claim = Callable[[], None]

log = get_logger()


def no_claim() -> None:
    """Allow everything: for who works outside a workflow."""


def claim_of_this_work() -> Claim:
    """Return what raises once the workflow of the caller belongs to another execution; it may be called in any thread.

    While the database is away it waits: nobody can say then whose the work is.
    """
    context = get_local_dbos_context()
    workflow_id = DBOS.workflow_id
    if context is None or workflow_id is None:
        return no_claim
    owner = context.owner_xid
    database = _get_dbos_instance()._sys_db

    def check() -> None:
        if database.get_workflow_owner(workflow_id) != owner:
            log.warning("claim_lost", workflow=workflow_id)
            raise DBOSWorkflowConflictIDError(workflow_id)

    return check
