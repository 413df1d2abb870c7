"""
What people use instead, measured beside us: each peer is a script of its own,
run by a Python of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks.figures import Report
from benchmarks.services import PATIENCE, TOP, freePort

if TYPE_CHECKING:
    from benchmarks.measurements import Round, Size
    from benchmarks.ours import Figures

# Seconds that no row takes.
LONGEST = 60

SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/key.pub
StrictModes no
PermitRootLogin yes
UsePAM no
UseDNS no
MaxSessions 2000
MaxStartups 200
# Else every task would read the user's ~/.bashrc first.
SetEnv HOME={directory}/home
"""

SSH = """\
Host remote
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {directory}/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ControlPath {directory}/master
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A peer.

    @ivar packages: what its script needs, from the package index.
    @ivar programs: what it needs of the system.
    """

    module: str
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    most: int = 500


PEERS = {
    "openssh": Peer("openssh", (), ("sshd", "ssh", "ssh-keygen"), 100),
    "asyncssh": Peer("asyncssh_", ("asyncssh",), ("sshd", "ssh-keygen"), 200),
    "paramiko": Peer("paramiko_", ("paramiko",), ("sshd", "ssh-keygen"), 100),
    "conch": Peer("conch", ("twisted[conch]",), ("sshd", "ssh-keygen"), 200),
    "celery": Peer("celery_", ("celery[redis]",), ("redis-server",), 200),
    "dask": Peer("dask_", ("distributed",), (), 200),
    "execnet": Peer("execnet_", ("execnet",), (), 500),
}


class Peers:
    """
    Those that were asked for, ready to be measured.
    """

    def __init__(self, directory: Path, names: list[str], report: Report) -> None:
        self._directory = directory / "peers"
        self._report = report
        self._names: list[str] = []
        for name, peer in PEERS.items():
            missing = [each for each in peer.programs if shutil.which(each) is None]
            if name not in names:
                report.skip(name, "not asked for (--peers)")
            elif missing:
                report.skip(name, f"there is no {', '.join(missing)}")
            else:
                self._names.append(name)
        self._python = sys.executable
        self._sshPort = self._redisPort = 0

    def __enter__(self) -> Peers:
        """
        Install and start what they need.
        """
        self._stack = ExitStack()
        if not self._names:
            return self
        self._directory.mkdir()
        packages = [each for name in self._names for each in PEERS[name].packages]
        venv = self._directory / "venv"
        print("installing the peers", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        self._python = str(venv / "bin" / "python")
        if packages:
            pip = [self._python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
            subprocess.run([*pip, *packages], check=True)
        try:
            if any("sshd" in PEERS[name].programs for name in self._names):
                self._startSshd()
            if "celery" in self._names:
                self._startCelery()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        End it all.
        """
        self._stack.close()

    def measure(self, measured: Round, size: Size) -> None:
        """
        Measure each, with the floors around.
        """
        for name in self._names:
            print(f"  {name}", file=sys.stderr, flush=True)
            most = PEERS[name].most
            for inFlight, tasks in ((1, min(size.alone, most) // 2), (16, most), (64, most)):
                count = max(min(tasks, size.tasks), 1)
                row = f"{name}, {inFlight} in flight"
                try:
                    measured.between(row, self._runner(name, count, inFlight))
                except (subprocess.SubprocessError, ValueError, IndexError) as error:
                    self._report.skip(row, f"it failed once: {type(error).__name__}")

    def _runner(self, name: str, tasks: int, inFlight: int) -> Callable[[], Figures]:
        def run() -> Figures:
            printed = subprocess.run(
                [
                    self._python,
                    "-m",
                    f"benchmarks.peers.{PEERS[name].module}",
                    str(tasks),
                    str(inFlight),
                    str(self._directory),
                    str(self._redisPort),
                ],
                check=True,
                timeout=LONGEST,
                env=self._environment(),
                cwd=self._directory,
                stdout=subprocess.PIPE,
            ).stdout
            figures: Figures = json.loads(printed.splitlines()[-1])
            return figures

        return run

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(TOP), "BENCHMARK_USER": getuser()}

    def _startSshd(self) -> None:
        port, directory = freePort(), self._directory
        (directory / "home").mkdir()
        for key in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True
            )
        (directory / "sshd_config").write_text(SSHD.format(port=port, directory=directory))
        (directory / "ssh_config").write_text(
            SSH.format(port=port, directory=directory, user=getuser())
        )
        sshd = shutil.which("sshd")
        assert sshd is not None
        Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation wants it
        self._begin([sshd, "-D", "-e", "-f", str(directory / "sshd_config")])
        (directory / "port").write_text(str(port))
        self._await(port)
        if "openssh" in self._names:
            ssh = ["ssh", "-F", str(directory / "ssh_config")]
            self._begin([*ssh, "-M", "-N", "remote"])
            deadline = monotonic() + PATIENCE
            while not (directory / "master").exists():
                if monotonic() > deadline:
                    raise SystemExit("ssh has no master connection")
                sleep(0.02)

    def _startCelery(self) -> None:
        self._redisPort = freePort()
        redis = shutil.which("redis-server")
        assert redis is not None
        options = ["--port", str(self._redisPort), "--bind", "127.0.0.1", "--save", ""]
        self._begin([redis, *options])
        self._await(self._redisPort)
        application = "benchmarks.peers.celery_"
        worker = [self._python, "-m", "celery", "-A", application, "worker", "-c", "2"]
        self._begin([*worker, "-l", "ERROR", "--without-mingle", "--without-gossip"])

    def _begin(self, command: list[str]) -> None:
        log = (self._directory / f"log-{Path(command[0]).name}").open("ab")
        process = subprocess.Popen(
            command,
            cwd=self._directory,
            env=self._environment() | {"BENCHMARK_REDIS": str(self._redisPort)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

        def end() -> None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._stack.callback(end)

    def _await(self, port: int) -> None:
        deadline = monotonic() + PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if monotonic() > deadline:
                logs = [path.read_text() for path in self._directory.glob("log-*")]
                raise SystemExit("a peer did not start:\n" + "\n".join(logs))
            sleep(0.02)
