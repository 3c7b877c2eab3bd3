"""The worker as it is, with the hostile engine instead of the networks: `python -m tests.engine_worker`."""

from app.jobs.worker import leave, main

if __name__ == "__main__":
    leave(main("tests.hostile_engine"))
