"""
From what a client and a remote log to the lines of the diagram.
"""

from __future__ import annotations

import os
import shutil
import sys

from jobscheduler_tcp.cli.diagram import Diagram
from jobscheduler_tcp.cli.twistds import Logged


class Scene:
    """
    Draw one job.

    @ivar over: whether its end was confirmed, and the outcome is known.
    """

    def __init__(self, diagram: Diagram, remote: str) -> None:
        """
        @param remote: where it listens.
        """
        self.over = False
        self._diagram = diagram
        self._remote = remote
        self._began = 0.0
        self._incoming = ""
        self._connects = False
        self._printed: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._outcome = ("", "")
        # By the role and the first words of what is logged.
        self._steps = {
            ("client", "Task {task} is asked for"): self._asked,
            ("client", "Connected to the remote"): self._connected,
            ("remote", "Task {task} is taken"): self._taken,
            ("remote", "Task {task} runs as process"): self._runs,
            ("client", "Task {task} runs at"): self._started,
            ("client", "Task {task} of job {job}, {stream}"): self._output,
            ("remote", "Task {task} is over"): self._ended,
            ("client", "Task {task} of job {job} is over"): self._confirmed,
        }

    def opening(self, client: int, remote: int) -> list[str]:
        """
        The lifelines, and the processes that they stand for.
        """
        diagram = self._diagram
        return [diagram.heads(f"client, pid {client}", f"remote, pid {remote}"), diagram.gap()]

    def drawn(self, logged: Logged) -> list[str]:
        """
        What to draw for something that was logged.
        """
        for (role, words), step in self._steps.items():
            if logged.role == role and logged.form.startswith(words):
                self._began = self._began or logged.time
                return step(f"{(logged.time - self._began) * 1000:.0f}", logged.fields)
        return []

    def faults(self, stdout: list[str], stderr: list[str], exitCode: int) -> list[str]:
        """
        What came back otherwise than the task printed it.
        """
        faults = []
        for stream, expected in (("stdout", stdout), ("stderr", stderr)):
            if self._printed[stream] != expected:
                faults.append(f"{stream} is {self._printed[stream]}, not {expected}")
        reason, code = self._outcome
        if (reason, code) != ("exited", str(exitCode)):
            faults.append(f"the outcome is {reason} {code}, not exited {exitCode}")
        return faults

    def closing(self, faults: list[str]) -> list[str]:
        """
        How it came out.
        """
        reason, code = self._outcome
        lines, errors = (len(self._printed[stream]) for stream in ("stdout", "stderr"))
        told = [
            self._diagram.gap(),
            "",
            f"Outcome: {reason}, exit code {code}; {lines} lines on stdout, {errors} on stderr.",
        ]
        if faults:
            return told + [f"WRONG: {fault}" for fault in faults]
        return [
            *told,
            "Every line, and the exit code of the script, came back as they were.",
            "",
            f"Do it yourself:  {_typed('twistd')} -n jsremote --role remote",
            f"                 {_typed('jsremote')} run -- echo hello",
        ]

    # ---------------------------------------------------------------- the steps

    def _asked(self, time: str, fields: dict[str, str]) -> list[str]:
        self._incoming = fields["port"]
        listens = self._diagram.left(time, f"IP {self._incoming}: an incoming port; listen there")
        return [listens, *(self._commands(time) if self._connects else ())]

    def _connected(self, time: str, fields: dict[str, str]) -> list[str]:
        diagram = self._diagram
        self._connects = True
        connects = [
            diagram.left(time, f"OP {fields['port']}: an outgoing port, given by the OS"),
            diagram.toRemote(
                time, f"command connection: OP {fields['port']} to {self._remote}", "="
            ),
        ]
        return [*connects, *(self._commands(time) if self._incoming else ())]

    def _commands(self, time: str) -> list[str]:
        # With an incoming port and a connection, whichever was there first.
        diagram = self._diagram
        return [
            diagram.toRemote(time, f"the IP port {self._incoming}, to receive the answer"),
            diagram.toRemote(time, "the command to start the remote job"),
            diagram.left(time, "waiting for response"),
        ]

    def _taken(self, time: str, fields: dict[str, str]) -> list[str]:
        diagram = self._diagram
        outgoing, incoming = fields["outgoing"], fields["port"]
        return [
            diagram.right(time, f"OPR {outgoing}: an outgoing port, given by the OS"),
            diagram.toClient(
                time, f"confirmation connection: OPR {outgoing} to IP {incoming}", "="
            ),
        ]

    def _runs(self, time: str, fields: dict[str, str]) -> list[str]:
        return [self._diagram.right(time, f"a separate process for the task: pid {fields['pid']}")]

    def _started(self, time: str, fields: dict[str, str]) -> list[str]:
        return [
            self._diagram.toClient(time, "the start of the task is confirmed"),
            self._diagram.left(time, "waiting for end of task"),
        ]

    def _output(self, time: str, fields: dict[str, str]) -> list[str]:
        self._printed[fields["stream"]].append(fields["line"])
        return [self._diagram.toClient(time, f"{fields['stream']}: {fields['line']}")]

    def _ended(self, time: str, fields: dict[str, str]) -> list[str]:
        return [self._diagram.right(time, f"the task is over: exit code {fields['code']}")]

    def _confirmed(self, time: str, fields: dict[str, str]) -> list[str]:
        self.over = True
        self._outcome = (fields["reason"], fields["exitCode"])
        return [self._diagram.toClient(time, "the end of the task is confirmed")]


def _typed(program: str) -> str:
    """
    What to type for a program of ours: in an environment that is not active, its path.
    """
    if shutil.which(program) is not None:
        return program
    path = os.path.join(os.path.dirname(sys.executable), program)
    return path.removeprefix(os.path.join(os.getcwd(), ""))
