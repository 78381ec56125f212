"""Runs with MLflow status RUNNING whose driver was killed, or lost with its machine."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Any

from raysample.core.locking.processes import dead
from raysample.tracking.mlflow.responses import failure_reason
from raysample.tracking.mlflow.settings import silence_mlflow

_LOG = logging.getLogger(__name__)

FOLDER_TAG, DRIVER_TAG = "raysample.folder", "raysample.driver"
PAGE, PAGES = 500, 20


def close_orphans(client: Any, experiment_id: str, folder: str, gone: Collection[str]) -> int:
    """Set RUNNING runs of a folder to KILLED if their driver is gone; return their number. Never raises.

    Args:
        client: the MLflow client.
        experiment_id: experiment to search.
        folder: the run folder, as in the runs' tag.
        gone: drivers of other machines whose lock on the folder was taken over.
    """
    closed = 0
    try:
        with silence_mlflow():
            for run in list(_running(client, experiment_id)):
                driver = run.data.tags.get(DRIVER_TAG, "")
                if run.data.tags.get(FOLDER_TAG) == folder and (driver in gone or dead(driver)):
                    client.set_tag(run.info.run_id, "error", "the driver is gone")
                    client.set_terminated(run.info.run_id, "KILLED")
                    closed += 1
    except Exception as error:  # noqa: BLE001 - tracking never fails the job
        _LOG.warning("MLflow: runs of earlier drivers could not all be ended: %s", failure_reason(error))
    return closed


def _running(client: Any, experiment_id: str) -> Iterator[Any]:
    """Yield the RUNNING runs of an experiment, page by page, up to a limit."""
    token = None
    for _ in range(PAGES):
        page = client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
