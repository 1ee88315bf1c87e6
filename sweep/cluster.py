"""A cluster as one reaches it from a laptop: through Ray Jobs, on the head.

A sweep's driver runs as a job on the head. This code and the study file travel with the job
(`sweep.parcel`), and files whose path is relative; others the head reads. What a job is told is its
command and its package, nothing else: the head's own environment has the token of the cluster and
what MLflow asks for.
"""

import asyncio
import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sweep import parcel
from sweep.spec.study import Study
from trainer.rules import ConfigError, Problem

STUDY = "sweep.study"
"""The metadata of a job that names its study."""

OUTPUT = "== output =="
"""The line after which a command's own output stands in the log of its job."""

POLL_SECONDS = 0.2


class ClusterError(RuntimeError):
    """The cluster can't be reached, refuses the token, or has no such job."""


class Answer(NamedTuple):
    """What a command printed on the head, and its exit code."""

    output: str
    code: int


class Cluster:
    """The Ray cluster whose Jobs API is at `address`.

    Args:
        address: `http://` on loopback (a tunnel's end), or `https://`.

    Raises:
        ConfigError: the token would travel in the clear.
        ClusterError: nobody answers there, or the token is refused.
    """

    def __init__(self, address: str) -> None:
        if not _private(address):
            rule = "must be https://…, or http:// on loopback, where a tunnel to the head ends"
            raise ConfigError([Problem("--address", rule, address)])
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        try:
            self._client = JobSubmissionClient(address)
        except (AuthenticationError, ConnectionError, RuntimeError) as error:
            raise ClusterError(f"the cluster at {address}: {error}") from None

    def submit(self, study: Study, here: Study, workspace: str | None) -> str:
        """Starts the driver of a study on the head; the job's name.

        Args:
            study: with its paths as they are written.
            here: the same with paths that are good here.
            workspace: on the head.

        Raises:
            ConfigError: the head could not read all that it names.
        """
        parcel.travels(study)
        with tempfile.TemporaryDirectory() as folder:
            # What travels is removed with its job, and a study needs its files longer.
            kept = parcel.pack_study(Path(folder), study, here)
            name = shlex.quote(study.name)
            file = f'"$place"/{name}/submitted.yaml' if kept else parcel.STUDY
            moved = (
                f'mkdir -p "$place"/{name} && cp -R {parcel.DATA} "$place"/{name}/ '
                f"&& cp {parcel.STUDY} {file} && "
            )
            command = f"{moved if kept else ''}python -m sweep run {file}"
            return self._start(command, Path(folder), workspace, study.name)

    def resume(self, name: str, options: Sequence[str], workspace: str | None) -> str:
        """Goes on with a study of the head's workspace; the job's name."""
        command = f"python -m sweep {shlex.join(['resume', name, *options])}"
        with tempfile.TemporaryDirectory() as folder:
            return self._start(command, Path(folder), workspace, name)

    def ask(self, arguments: Sequence[str], workspace: str | None) -> Answer:
        """Runs a short command on the head, and waits for it."""
        command = f"python -m sweep {shlex.join(arguments)}"
        with tempfile.TemporaryDirectory() as folder:
            job = self._start(command, Path(folder), workspace)
        while not self._client.get_job_status(job).is_terminal():
            time.sleep(POLL_SECONDS)
        info = self._client.get_job_info(job)
        # Ray writes this line while the command is writing already, so it may stand in its output.
        announced = f"Running entrypoint for job {job}: {info.entrypoint}\n"
        log = "\n" + self._client.get_job_logs(job).replace(announced, "")
        _, mark, output = log.partition(f"\n{OUTPUT}\n")
        if not mark:
            raise ClusterError(f"the head did not run the command: {log.strip()}")
        code = info.driver_exit_code
        return Answer(output, 1 if code is None else code)

    def logs(self, name: str, write: Callable[[str], object], *, follow: bool) -> bool:
        """Writes the log of a study's last job; whether that job did not fail.

        With `follow` it goes on until the job has ended.
        """
        job = self._job(name)
        if follow:
            asyncio.run(self._tail(job, write))
        else:
            write(self._client.get_job_logs(job))
        return str(self._client.get_job_status(job)) != "FAILED"

    async def _tail(self, job: str, write: Callable[[str], object]) -> None:
        async for lines in self._client.tail_job_logs(job):
            write(lines)

    def _job(self, name: str) -> str:
        known = [
            each
            for each in self._client.list_jobs()
            if (each.metadata or {}).get(STUDY) == name and each.submission_id
        ]
        if not known:
            raise ClusterError(f"the cluster has no job of a study {name!r}")
        return str(max(known, key=lambda each: each.start_time or 0).submission_id)

    def _start(
        self, command: str, folder: Path, workspace: str | None, study: str | None = None
    ) -> str:
        """Starts a job with a folder's files and this code; its command finds `$place` set.

        Raises:
            ConfigError: the workspace would be in the job's own folder, which ends with it.
        """
        if workspace and not workspace.startswith("/"):
            rule = "is on the cluster's head, so it must be absolute there"
            raise ConfigError([Problem("--workspace", rule, workspace)])
        parcel.pack(folder)
        place = shlex.quote(workspace) if workspace else '"${SWEEP_WORKSPACE:-$HOME/results}"'
        started: str = self._client.submit_job(
            entrypoint=f"echo '{OUTPUT}' && place={place} && {command} --workspace \"$place\"",
            submission_id=f"sweep-{study or 'asked'}-{uuid.uuid4().hex[:8]}",
            metadata={STUDY: study} if study else {},
            runtime_env={"working_dir": str(folder)},
        )
        return started


def _private(address: str) -> bool:
    """Whether what is sent there can be read by nobody on the way."""
    parts: Any = urlsplit(address)
    if parts.scheme == "https":
        return True
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
