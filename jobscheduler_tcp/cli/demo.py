"""
C{jsremote demo}: watch one job go from a client to a remote and back.

Both roles are real twistd processes; what is drawn is what they log.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from html import escape
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from types import FrameType

from jobscheduler_tcp.cli.asking import ask
from jobscheduler_tcp.cli.diagram import Diagram
from jobscheduler_tcp.cli.scene import Scene
from jobscheduler_tcp.cli.screen import isColourful
from jobscheduler_tcp.cli.twistds import Logged, Twistd, stopAll
from jobscheduler_tcp.errors import JobSchedulerError

# What the task prints, with pauses that let one see that it comes at once, and
# an exit code that nothing but the task can have made.
STDOUT = ["hello from the task", "half of the work is done", "all of it is done"]
STDERR = ["and this is its stderr"]
EXIT_CODE = 7
SCRIPT = f"""\
echo "{STDOUT[0]}"
echo "{STDERR[0]}" >&2
sleep 1
echo "{STDOUT[1]}"
sleep 1
echo "{STDOUT[2]}"
exit {EXIT_CODE}
"""
_CONFIGURATION = """\
<spooler><config>
  <process_classes>
    <process_class name="demo" remote_scheduler="{remote}" max_processes="1"
                   dialect="extended"/>
  </process_classes>
  <jobs>
    <job name="demo" process_class="demo"><script language="shell">{script}</script></job>
  </jobs>
</config></spooler>
"""
_LISTEN = ("--listen", "tcp:0:interface=127.0.0.1")

# Seconds, each many times what it takes on a slow machine.
_START_TIMEOUT = 30.0
_JOB_TIMEOUT = 30.0
# Seconds by which the lines of one process may come before earlier ones of the
# other, since both write as they like.
_DISORDER = 0.2

_FAILED = 1


def demo() -> int:
    """
    Show it.

    @return: 0 if everything that the task printed, and its exit code, came back.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="jsremote-demo-")))
        show = _Demo(directory)
        stack.callback(show.stop)
        try:
            return show.run()
        except BrokenPipeError:
            raise  # ours, not the demo's
        except (JobSchedulerError, OSError, TimeoutError) as error:
            print(f"jsremote: the demo failed: {error}", file=sys.stderr)
            for line in show.said:
                print(f"  {line.role}: {line.text}", file=sys.stderr)
            return _FAILED


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Demo:
    """
    The two processes, and what they say.

    @ivar said: everything that was logged.
    """

    def __init__(self, directory: Path) -> None:
        self.said: list[Logged] = []
        self._directory = directory
        self._log: Queue[Logged] = Queue()
        self._services: list[Twistd] = []

    def run(self) -> int:
        """
        Play it from beginning to end.
        """
        colour = isColourful(sys.stdout)
        print("One job goes from a client to a remote and back; both are twistd processes.")
        print("OP, IP and OPR are the three ports between them, times are milliseconds.\n")
        sys.stdout.flush()
        remote = self._start("remote", _LISTEN)
        configuration = self._directory / "scheduler.xml"
        configuration.write_text(
            _CONFIGURATION.format(remote=remote, script=escape(SCRIPT)), encoding="utf-8"
        )
        state = str(self._directory / "state")
        client = self._start(
            "client", (*_LISTEN, "--config", str(configuration), "--state-dir", state)
        )
        scene = Scene(Diagram(colour=colour), remote)
        _show(scene.opening(*(service.pid for service in reversed(self._services))))
        host, _, port = client.rpartition(":")
        ask((host, int(port)), b'<start_job job="demo"/>')
        self._follow(scene)
        faults = scene.faults(STDOUT, STDERR, EXIT_CODE)
        _show(scene.closing(faults))
        return _FAILED if faults else 0

    def stop(self) -> None:
        """
        Leave nothing behind.
        """
        stopAll(self._services)

    def _start(self, role: str, options: tuple[str, ...]) -> str:
        """
        Start a service.

        @return: where it listens.
        """
        self._services.append(Twistd(role, options, self._directory, self._log))
        until = time.monotonic() + _START_TIMEOUT
        while True:
            logged = self._next(until)
            if logged.form.startswith("jsremote {role} listens on"):
                return logged.fields["where"]

    def _follow(self, scene: Scene) -> None:
        """
        Draw what happens, in the order in which it happened.
        """
        waiting: list[Logged] = []
        until = time.monotonic() + _JOB_TIMEOUT
        while not scene.over or waiting:
            try:
                waiting.append(self._next(min(until, time.monotonic() + _DISORDER)))
            except TimeoutError:
                if time.monotonic() >= until:
                    raise
            waiting.sort(key=lambda logged: logged.time)
            while waiting and waiting[0].time < time.time() - _DISORDER:
                _show(scene.drawn(waiting.pop(0)))

    def _next(self, until: float) -> Logged:
        try:
            logged = self._log.get(timeout=max(until - time.monotonic(), 0.0))
        except Empty:
            raise TimeoutError("nothing more happens") from None
        self.said.append(logged)
        if logged.over:
            raise ChildProcessError(f"the {logged.role} has ended")
        return logged


def _show(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
