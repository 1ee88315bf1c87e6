"""A cluster as one reaches it from a laptop: through Ray Jobs, on the head.

A sweep's driver runs as a job on the head. This code and the study file travel with the job; the
data do not: the head reads them. What a job is told is its command and its package, nothing else:
the head's own environment has the token of the cluster and what MLflow asks for.
"""

import asyncio
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import sweep
import trainer
from sweep.spec.study import Study
from trainer.rules import ConfigError, Problem
from trainer.sources import SOURCES

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

    def submit(self, study: Study, workspace: str | None) -> str:
        """Starts the driver of a study on the head; the job's name.

        Raises:
            ConfigError: its data are where the head can't read them.
        """
        travels(study)
        return self._start(["run", "study.yaml"], workspace, study.name, study.text)

    def resume(self, name: str, options: Sequence[str], workspace: str | None) -> str:
        """Goes on with a study of the head's workspace; the job's name."""
        return self._start(["resume", name, *options], workspace, name)

    def ask(self, arguments: Sequence[str], workspace: str | None) -> Answer:
        """Runs a short command on the head, and waits for it."""
        job = self._start(arguments, workspace)
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
        self,
        arguments: Sequence[str],
        workspace: str | None,
        study: str | None = None,
        text: str | None = None,
    ) -> str:
        place = shlex.quote(workspace) if workspace else '"${SWEEP_WORKSPACE:-$HOME/results}"'
        command = f"python -m sweep {shlex.join(arguments)} --workspace {place}"
        identity = f"sweep-{study or arguments[0]}-{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory() as folder:
            _package(Path(folder), text)
            started: str = self._client.submit_job(
                entrypoint=f"echo '{OUTPUT}' && {command}",
                submission_id=identity,
                metadata={STUDY: study} if study else {},
                runtime_env={"working_dir": folder},
            )
        return started


def travels(study: Study) -> None:
    """Checks that the head has all that a study names.

    Raises:
        ConfigError: its data are a file beside the user, or it names code of the user's.
    """
    if study.trainer is not None:
        rule = (
            "does not travel to a cluster's head: it is code of one's own; join with run --address"
        )
        raise ConfigError([Problem("trainer", rule, study.trainer)])
    source = str(study.data.source)
    kind, _, place = source.partition(":")
    if kind not in SOURCES:
        rule = "code of one's own does not travel to a cluster; write the arrays to an npz: file"
    elif place and not place.startswith("/"):
        rule = (
            "is read on the cluster's head, so its path must be absolute there; copy the data "
            "to it first, with ray rsync-up"
        )
    else:
        return
    raise ConfigError([Problem("data.source", rule, source)])


def _package(folder: Path, text: str | None) -> None:
    """Fills a folder with what travels: the code, and the study file."""
    for package in (sweep, trainer):
        source = Path(package.__path__[0])
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / source.name, ignore=ignored)
    if text is not None:
        (folder / "study.yaml").write_text(text, encoding="utf-8")


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
