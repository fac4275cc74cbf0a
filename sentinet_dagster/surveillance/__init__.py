"""The judgement: frames in, frames out. No Dagster, database, clock, environment, logging in here."""
