"""What we ask Dagster's web server, over its public GraphQL interface.

What lives here: questions and answers. What never does: starting Dagster (`parts.py`), what the jobs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

REPOSITORY = "__repository__"
TIMEOUT_S = 10.0

_RUNS = """
query runs {
  succeeded: runsOrError(filter: {statuses: [SUCCESS]}) { ...counted }
  failed: runsOrError(filter: {statuses: [FAILURE, CANCELED]}) { ...counted }
  underWay: runsOrError(filter: {
    statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]
  }) { ...counted }
}
fragment counted on RunsOrError { ... on Runs { count } }
"""
_LOCATIONS = """
query locations {
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { repositories { name } }
          ... on PythonError { message }
        }
      }
    }
    ... on PythonError { message }
  }
}
"""
_LAUNCH_RUN = """
mutation launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
_RUN_STATUS = """
query run($id: ID!) {
  runOrError(runId: $id) { __typename ... on Run { status } }
}
"""
_COUNT_SUCCEEDED = """
query succeeded($tags: [ExecutionTag!]) {
  runsOrError(filter: {statuses: [SUCCESS], tags: $tags}) {
    __typename
    ... on Runs { count }
    ... on PythonError { message }
  }
}
"""
_LAUNCH_BACKFILL = """
mutation backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_BACKFILL = """
query backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status runs(limit: 10000) { status } }
    ... on PythonError { message }
  }
}
"""


class DagsterError(Exception):
    """Dagster answered, and not with what was asked for. The message is its own."""


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs there are, by how they stand."""

    succeeded: int = 0
    failed: int = 0
    under_way: int = 0


@dataclass(frozen=True, slots=True)
class Backfill:
    """How a backfill stands. `status` is Dagster's word: REQUESTED, COMPLETED_SUCCESS, FAILED …"""

    status: str
    succeeded: int
    failed: int

    @property
    def is_over(self) -> bool:
        """Nothing more will happen."""
        return self.status not in ("REQUESTED", "CANCELING", "FAILING")


class DagsterApi:
    """Dagster's web server at `url`.

    Every method raises `httpx.TransportError` where nobody answers, `DagsterError` where the answer is no.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def runs(self) -> Runs:
        """How many runs there are."""
        answer = self._ask(_RUNS)
        return Runs(*(answer[name]["count"] for name in ("succeeded", "failed", "underWay")))

    def location(self) -> str:
        """The name of the code location, which is loaded.

        Raises:
            DagsterError: it is not loaded, with the reason.
        """
        workspace = self._ask(_LOCATIONS)["workspaceOrError"]
        for entry in workspace.get("locationEntries", []):
            loaded = entry["locationOrLoadError"]
            if loaded and loaded["__typename"] == "RepositoryLocation":
                return str(entry["name"])
            if loaded:
                raise DagsterError(loaded.get("message", "the code location is not loaded"))
        raise DagsterError(workspace.get("message", "no code location is loaded"))

    def launch(self, job: str, location: str, tags: Mapping[str, str] | None = None) -> str:
        """Start a run of `job`; its id."""
        pairs = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        selector = {"repositoryLocationName": location, "repositoryName": REPOSITORY, "jobName": job}
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": pairs}}
        answer = self._ask(_LAUNCH_RUN, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise DagsterError(answer.get("message", answer["__typename"]))
        return str(answer["run"]["runId"])

    def run_status(self, run_id: str) -> str:
        """Dagster's word for how a run stands: STARTED, SUCCESS, FAILURE …"""
        answer = self._ask(_RUN_STATUS, id=run_id)["runOrError"]
        if answer["__typename"] != "Run":
            raise DagsterError(f"run {run_id}: {answer['__typename']}")
        return str(answer["status"])

    def count_succeeded(self, tags: Mapping[str, str]) -> int:
        """How many runs with these tags have succeeded."""
        pairs = [{"key": key, "value": value} for key, value in tags.items()]
        answer = self._ask(_COUNT_SUCCEEDED, tags=pairs)["runsOrError"]
        if answer["__typename"] != "Runs":
            raise DagsterError(answer.get("message", answer["__typename"]))
        return int(answer["count"])

    def launch_backfill(
        self, assets: Sequence[Sequence[str]], partitions: Sequence[str], tags: Mapping[str, str]
    ) -> str:
        """Materialise `partitions` of `assets`; the backfill's id."""
        params = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(partitions),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._ask(_LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise DagsterError(answer.get("message", answer["__typename"]))
        return str(answer["backfillId"])

    def backfill(self, backfill_id: str) -> Backfill:
        """How a backfill stands."""
        answer = self._ask(_BACKFILL, id=backfill_id)["partitionBackfillOrError"]
        if answer["__typename"] != "PartitionBackfill":
            raise DagsterError(answer.get("message", answer["__typename"]))
        states = [run["status"] for run in answer["runs"]]
        failed = sum(state in ("FAILURE", "CANCELED") for state in states)
        return Backfill(answer["status"], states.count("SUCCESS"), failed)

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        response = self._client.post("/graphql", json={"query": query, "variables": variables})
        response.raise_for_status()
        answer = response.json()
        if answer.get("errors"):
            raise DagsterError(answer["errors"][0]["message"])
        data: dict[str, Any] = answer["data"]
        return data
