# Three images: `ingest` has no Dagster, `dagster` has everything but a database server, `superset` is its project's.
#   docker build --target ingest .      the ingest daemon
#   docker build --target dagster .     migrate, code server, dagster-daemon, web UI
#   docker build --target superset .    Superset, its settings and the driver of its database
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PATH=/opt/sentinet/bin:$PATH
RUN groupadd --gid 10001 sentinet \
    && useradd --uid 10001 --gid sentinet --create-home --home-dir /home/sentinet sentinet
WORKDIR /app

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv /opt/sentinet && /opt/sentinet/bin/pip install --constraint constraints.txt uv
COPY ingest_daemon ingest_daemon
COPY sentinet_dagster sentinet_dagster
COPY sql sql

# Editable: sql/ and the settings of Dagster are read from beside the packages, as in a checkout.
FROM build AS build-ingest
RUN uv pip install --python /opt/sentinet/bin/python --compile-bytecode --constraint constraints.txt \
      --editable .

FROM build AS build-dagster
COPY dagster.yaml workspace.yaml ./
COPY dbt_project dbt_project
RUN uv pip install --python /opt/sentinet/bin/python --compile-bytecode --constraint constraints.txt \
      --editable '.[dagster]' \
    && python -m sentinet_dagster.rollups

FROM base AS ingest
COPY --from=build-ingest /opt/sentinet /opt/sentinet
COPY --from=build-ingest /app/ingest_daemon /app/ingest_daemon
ENV SENTINET_HOME=/home/sentinet/state
USER sentinet
RUN mkdir -p /home/sentinet/state/spool
EXPOSE 9464
CMD ["python", "-m", "ingest_daemon"]

FROM base AS dagster
COPY --from=build-dagster /opt/sentinet /opt/sentinet
COPY --from=build-dagster /app /app
ENV DAGSTER_HOME=/home/sentinet/dagster SENTINET_HOME=/home/sentinet/state
USER sentinet
RUN mkdir -p /home/sentinet/dagster/storage /home/sentinet/state \
    && cp /app/dagster.yaml /home/sentinet/dagster/dagster.yaml
EXPOSE 3000 4000
CMD ["dagster-webserver", "--workspace", "/app/workspace.yaml", "--host", "0.0.0.0", "--port", "3000"]

# The project's image has no driver of PostgreSQL.
FROM apache/superset:6.1.0 AS superset
USER root
COPY sentinet_dagster/superset/server /sentinet
COPY sentinet_dagster/superset/requirements.txt /sentinet/requirements.txt
RUN . /app/.venv/bin/activate \
    && uv pip install --no-cache "$(grep '^psycopg2-binary==' /sentinet/requirements.txt)"
USER superset
ENV SUPERSET_CONFIG_PATH=/sentinet/superset_config.py
EXPOSE 8088
CMD ["python", "/sentinet/serve.py"]
