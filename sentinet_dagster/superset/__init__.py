"""Dashboards as code: the bundle, what must hold of it, and publishing it to a Superset.

What lives here: the tree `bundle/`, reading and zipping it (`bundle.py`), checking its links (`validate.py`),
the web API (`client.py`, `access.py`, `publish.py`). `server/` runs inside Superset's own environment and
imports nothing of ours. What never does: starting a Superset (`runtime/superset_server.py`), Dagster's
objects (`assets/dashboards.py`).
"""
