"""MLflow: the server, database or folder of MLFLOW_TRACKING_URI, by its client, which notes no code and no user."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .sender import Row
from .told import PROJECT, Told

ID = "compmod_id"  # the tag by which a run is found again
MOST_METRICS, MOST_PARAMS = 1000, 100  # of one request; MLflow's REST API, log-batch


class MlflowRun:
    """One run of MLflow."""

    def __init__(self, client: Any, id: str) -> None:
        self._client, self._id = client, id

    def sent(self) -> dict[str, int]:
        """The last step of every value, by MLflow itself, whose requests are stored whole or not at all."""
        names = self._client.get_run(self._id).data.metrics
        return {name: max(metric.step for metric in self._client.get_metric_history(self._id, name)) for name in names}

    def log(self, rows: Sequence[Row]) -> None:
        """Send rows."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, row.step) for row in rows for name, value in row.values.items()]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])

    def close(self, *, finished: bool) -> None:
        """Note how it ended."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


def open_run(told: Told, folder: Path) -> MlflowRun:
    """The run whose tag has the id, or a new one with the spec as its parameters."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from mlflow.entities import Param

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    given = os.environ.get("MLFLOW_EXPERIMENT_ID")
    experiment = (mlflow.set_experiment(experiment_id=given) if given else mlflow.set_experiment(name)).experiment_id
    client = mlflow.MlflowClient()
    there = client.search_runs([experiment], f"tags.{ID} = '{told.id}'", max_results=1)
    if there:
        run = there[0].info.run_id
        client.update_run(run, "RUNNING")
    else:
        tags = {ID: told.id, "group": told.group, **told.tags}
        run = client.create_run(experiment, tags=tags, run_name=told.name).info.run_id
    params = [Param(name, str(value)) for name, value in told.config.items()]
    for first in range(0, len(params), MOST_PARAMS):  # again, too: the earlier process may have been killed before
        client.log_batch(run, params=params[first : first + MOST_PARAMS])
    return MlflowRun(client, run)
