"""
Who may say what, when.

All that decides it stands in the three tables of this file, and none of them
knows on which side it is used: both ends walk the same table, each message is
looked up under the one who says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    AttachRefused,
    AttachTask,
    CallerProof,
    Challenge,
    ConfirmationOpened,
    ConfirmationRefused,
    EndAcknowledged,
    Heartbeat,
    Hello,
    InputEnded,
    InputTaken,
    KillTask,
    ListenerProof,
    OpenConfirmation,
    OutputAcknowledged,
    Ping,
    Pong,
    RequestFailed,
    StartTask,
    TakeConfirmation,
    TaskAbandoned,
    TaskAttached,
    TaskEnded,
    TaskInput,
    TaskKilled,
    TaskOutput,
    TaskRefused,
    TaskStarted,
    TaskTaken,
    Welcome,
)


class Role(Enum):
    """
    Who speaks.
    """

    CLIENT = "client"
    REMOTE = "remote"

    # There is one object of each. That of an Enum is a call in Python.
    __hash__ = object.__hash__


class Place(Enum):
    """
    Where a conversation stands.
    """

    OPENED = "opened"
    # command connection
    GREETED = "greeted"
    TALKING = "talking"
    CLASSIC = "classic"
    HANDING_OVER = "handing over"
    FRAMES = "frames"
    # confirmation connection, channel 0
    CHALLENGED = "challenged"
    LISTENER_PROVEN = "listener proven"
    PROVEN = "proven"
    # confirmation connection, a task's channel
    TASK_ATTACHED = "task attached"
    TASK_RUNNING = "task running"
    TASK_OVER = "task over"
    TASK_ABANDONED = "task abandoned"
    TASK_DROPPED = "task dropped"
    END_ACKNOWLEDGED = "end acknowledged"


Script: TypeAlias = Mapping[Place, Mapping[tuple[Role, type], Place]]

_C = Role.CLIENT
_R = Role.REMOTE

# The extended dialect on the command connection. Requests may follow each
# other without waiting, answers come in any order and repeat the request's id.
COMMAND: Script = {
    Place.OPENED: {(_C, Hello): Place.GREETED, (_C, TakeConfirmation): Place.HANDING_OVER},
    Place.GREETED: {(_R, Welcome): Place.TALKING, (_R, RequestFailed): Place.CLASSIC},
    Place.TALKING: {
        (_C, StartTask): Place.TALKING,
        (_C, AttachTask): Place.TALKING,
        (_C, KillTask): Place.TALKING,
        (_C, Ping): Place.TALKING,
        (_C, OpenConfirmation): Place.TALKING,
        (_R, TaskTaken): Place.TALKING,
        (_R, TaskRefused): Place.TALKING,
        (_R, AttachRefused): Place.TALKING,
        (_R, TaskKilled): Place.TALKING,
        (_R, Pong): Place.TALKING,
        (_R, RequestFailed): Place.TALKING,
        (_R, ConfirmationOpened): Place.TALKING,
        (_R, ConfirmationRefused): Place.TALKING,
    },
    Place.CLASSIC: {},
    # This connection becomes a confirmation connection.
    Place.HANDING_OVER: {
        (_R, ConfirmationOpened): Place.FRAMES,
        (_R, ConfirmationRefused): Place.CLASSIC,
        (_R, RequestFailed): Place.CLASSIC,
    },
    Place.FRAMES: {},
}

# Channel 0 of the confirmation connection: nothing of a task is said before
# both ends are proven.
HANDSHAKE: Script = {
    Place.OPENED: {(_R, Challenge): Place.CHALLENGED},
    Place.CHALLENGED: {(_C, ListenerProof): Place.LISTENER_PROVEN},
    Place.LISTENER_PROVEN: {(_R, CallerProof): Place.PROVEN},
    Place.PROVEN: {(_C, Heartbeat): Place.PROVEN, (_R, Heartbeat): Place.PROVEN},
}

# A task's channel. Only what the remote says, and the client's last word, lead
# to another place; what the client says meanwhile is allowed in every later
# place too, for it may cross the remote's words on the way.
TASK: Script = {
    Place.OPENED: {(_R, TaskAttached): Place.TASK_ATTACHED},
    Place.TASK_ATTACHED: {
        (_R, TaskStarted): Place.TASK_RUNNING,
        (_R, InputTaken): Place.TASK_ATTACHED,
        (_R, TaskEnded): Place.TASK_OVER,
        (_R, TaskAbandoned): Place.TASK_DROPPED,
        (_C, OutputAcknowledged): Place.TASK_ATTACHED,
        (_C, TaskInput): Place.TASK_ATTACHED,
        (_C, InputEnded): Place.TASK_ATTACHED,
        (_C, TaskAbandoned): Place.TASK_ABANDONED,
    },
    Place.TASK_RUNNING: {
        (_R, TaskOutput): Place.TASK_RUNNING,
        (_R, InputTaken): Place.TASK_RUNNING,
        (_R, TaskEnded): Place.TASK_OVER,
        (_R, TaskAbandoned): Place.TASK_DROPPED,
        (_C, OutputAcknowledged): Place.TASK_RUNNING,
        (_C, TaskInput): Place.TASK_RUNNING,
        (_C, InputEnded): Place.TASK_RUNNING,
        (_C, TaskAbandoned): Place.TASK_ABANDONED,
    },
    Place.TASK_OVER: {
        (_R, TaskAbandoned): Place.TASK_DROPPED,
        (_C, OutputAcknowledged): Place.TASK_OVER,
        (_C, TaskInput): Place.TASK_OVER,
        (_C, InputEnded): Place.TASK_OVER,
        (_C, TaskAbandoned): Place.TASK_ABANDONED,
        (_C, EndAcknowledged): Place.END_ACKNOWLEDGED,
    },
    # It is confirmed elsewhere; the client hears that, and answers it.
    Place.TASK_DROPPED: {
        (_C, OutputAcknowledged): Place.TASK_DROPPED,
        (_C, TaskInput): Place.TASK_DROPPED,
        (_C, InputEnded): Place.TASK_DROPPED,
        (_C, EndAcknowledged): Place.END_ACKNOWLEDGED,
        (_C, TaskAbandoned): Place.END_ACKNOWLEDGED,
    },
    # What the remote had said before it heard that is still on its way.
    Place.TASK_ABANDONED: {
        (_R, TaskStarted): Place.TASK_ABANDONED,
        (_R, TaskOutput): Place.TASK_ABANDONED,
        (_R, InputTaken): Place.TASK_ABANDONED,
        (_R, TaskEnded): Place.TASK_ABANDONED,
        (_R, TaskAbandoned): Place.END_ACKNOWLEDGED,
    },
    Place.END_ACKNOWLEDGED: {},
}


class Step:
    """
    A place of a script, as one end sees it.

    @ivar ours: from the types of what our side may say there to where they lead.
    @ivar theirs: from those of what the peer may say.
    """

    __slots__ = ("ours", "place", "role", "theirs")

    def __init__(self, place: Place, role: Role) -> None:
        self.place = place
        self.role = role
        self.ours: dict[type, Step] = {}
        self.theirs: dict[type, Step] = {}

    def complaint(self, ours: bool, message: object) -> str:
        """
        Tell people what was said where it may not be said.
        """
        speaker = self.role.value
        if not ours:
            speaker = (_R if self.role is _C else _C).value
        said = type(message).__name__
        return f"the {speaker} may not say {said} while the conversation is {self.place.value}"


def stepsOf(script: Script) -> dict[Role, Step]:
    """
    Join the places of a script to each other.

    @return: the step where a conversation opens, for each end.
    """
    openings: dict[Role, Step] = {}
    for role in Role:
        steps = {place: Step(place, role) for place in script}
        for place, words in script.items():
            for (speaker, kind), after in words.items():
                step = steps[place]
                (step.ours if speaker is role else step.theirs)[kind] = steps[after]
        openings[role] = steps[Place.OPENED]
    return openings


_OPENINGS = {id(script): stepsOf(script) for script in (COMMAND, HANDSHAKE, TASK)}


class Conversation:
    """
    Walk a script: one of the three tables.

    @ivar step: where the conversation stands.
    """

    __slots__ = ("step",)

    def __init__(self, script: Script, role: Role) -> None:
        self.step = _OPENINGS[id(script)][role]

    @property
    def place(self) -> Place:
        """
        Where the conversation stands, for messages to people.
        """
        return self.step.place

    def speak(self, message: object) -> None:
        """
        Our side says something.

        @raise LocalProtocolError: it may not be said now.
        """
        after = self.step.ours.get(type(message))
        if after is None:
            raise LocalProtocolError(self.step.complaint(True, message))
        self.step = after

    def hear(self, message: object) -> None:
        """
        The peer said something.

        @raise RemoteProtocolError: it may not be said now.
        """
        after = self.step.theirs.get(type(message))
        if after is None:
            raise RemoteProtocolError(self.step.complaint(False, message))
        self.step = after
