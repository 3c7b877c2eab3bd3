"""The way in: Storage SCP, inbox on disk, assembly of series into jobs."""
