"""What `sentinet` starts on one machine: PostgreSQL, the daemon, Dagster, a local venue."""
