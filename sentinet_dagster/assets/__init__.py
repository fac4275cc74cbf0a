"""The assets: read, call a pure function, write, report. A room per schema of the database."""
