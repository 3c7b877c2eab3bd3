"""The durable queue: jobs, their states, the workflow that a worker runs, and the queries of the administrator."""
