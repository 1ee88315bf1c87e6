"""Hosts on one machine: network namespaces with addresses of their own, and an SSH server in each.

A host has its own network, processes, `/tmp`, `/dev/shm` and home, and the files of this machine
otherwise. Ending its first process is a power cut; its cable can be pulled.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

HOME = "/srv/home"
NEEDED = ("ip", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter")

BOOT = f"""
set -e
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs tmpfs /srv && mkdir {HOME} && mount --bind "$1/$2" {HOME}
mount -t tmpfs tmpfs /run && mkdir /run/sshd
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /var/lib/postgresql
hostname "$2"
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
cd /
"$(command -v sshd)" -D -f /dev/null -h {HOME}/.ssh/id_ed25519 -o ListenAddress="$3" \\
    -o PidFile=none -o UsePAM=no -o PasswordAuthentication=no -o StrictModes=no &
while sleep 1; do :; done  # and whoever has lost its parent is reaped here
"""


def missing() -> str | None:
    """Why there can be no hosts here, if so."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root, for network namespaces"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    gone = [each for each in NEEDED if shutil.which(each, path=path) is None]
    return f"needs {', '.join(gone)} (iproute2, openssh-server, rsync)" if gone else None


class Host:
    """One host.

    Args:
        name: of the host, and of its folder.
        address: its IPv4 address.
        folder: that of all hosts.
        prefix: of the names of network namespaces.
    """

    def __init__(self, name: str, address: str, folder: Path, prefix: str) -> None:
        self.name = name
        self.address = address
        self.home = folder / name
        self._bridge, self._network, self._port = prefix, f"{prefix}-{name}", f"to-{name}"
        _ip("netns", "add", self._network)
        cable = ["link", "add", self._port, "netns", self._bridge, "type", "veth"]
        _ip(*cable, "peer", "name", "eth0", "netns", self._network)
        _ip("-n", self._bridge, "link", "set", self._port, "master", "bridge", "up")
        _ip("-n", self._network, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", self._network, "link", "set", "eth0", "up")
        _ip("-n", self._network, "route", "add", "default", "dev", "eth0")
        alone = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"]
        boot = ["bash", "-c", BOOT, "boot", str(folder), name, address]
        with (folder / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._network, "unshare", *alone, *boot],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )

    def command(self, *arguments: str, folder: str = HOME, **environment: str) -> list[str]:
        """How a program is started on the host, in a folder there, as after a login."""
        (first,) = psutil.Process(self._process.pid).children()
        variables = {"HOME": HOME, "USER": "root", "LANG": "C.UTF-8", **environment}
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        told = [f"{name}={value}" for name, value in ({"PATH": path} | variables).items()]
        return ["nsenter", "-t", str(first.pid), "-a", "env", "-i", "-C", folder, *told, *arguments]

    def processes(self) -> list[str]:
        """The command lines of what runs there, but for the host's own."""
        (first,) = psutil.Process(self._process.pid).children()
        lines = []
        for each in first.children(recursive=True):
            with suppress(psutil.Error):
                lines.append(" ".join(each.cmdline()))
        return [each for each in lines if each and not each.startswith(("sleep", "sshd", "bash"))]

    def cut(self) -> None:
        """Pulls the cable."""
        _ip("-n", self._bridge, "link", "set", self._port, "down")

    def join(self) -> None:
        """Puts the cable back."""
        _ip("-n", self._bridge, "link", "set", self._port, "up")

    def kill(self) -> None:
        """Cuts the power."""
        self._process.kill()
        self._process.wait()

    def remove(self) -> None:
        """Ends it, and leaves nothing."""
        self.kill()
        _ip("netns", "delete", self._network)


@contextmanager
def hosts(folder: Path, names: Mapping[str, str]) -> Iterator[dict[str, Host]]:
    """Hosts with these names and addresses, of one /24, and one SSH key for all; as root."""
    passwd = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
    root = f"root:x:0:0:root:{HOME}:/bin/bash"
    others = [each for each in passwd if not each.startswith("root:")]
    (folder / "passwd").write_text("\n".join([root, *others, ""]), encoding="utf-8")
    key = folder / "id_ed25519"
    generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(generate, check=True)
    prefix = f"sweep{os.getpid()}"
    with ExitStack() as stack:
        _ip("netns", "add", prefix)
        stack.callback(_ip, "netns", "delete", prefix)
        _ip("-n", prefix, "link", "add", "bridge", "type", "bridge")
        _ip("-n", prefix, "link", "set", "bridge", "up")
        made = {}
        for name, address in names.items():
            ssh = folder / name / ".ssh"
            ssh.mkdir(parents=True, mode=0o700)
            shutil.copy(key, ssh)
            shutil.copy(key.with_suffix(".pub"), ssh / "authorized_keys")
            made[name] = Host(name, address, folder, prefix)
            stack.callback(made[name].remove)
        time.sleep(1)
        yield made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


requires_hosts = pytest.mark.skipif(missing() is not None, reason=missing() or "")
