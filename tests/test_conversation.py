"""
The tables of who may say what, when.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobscheduler_tcp import messages
from jobscheduler_tcp.conversation import (
    COMMAND,
    HANDSHAKE,
    TASK,
    Conversation,
    Place,
    Role,
    Script,
)
from jobscheduler_tcp.errors import LocalProtocolError, RemoteProtocolError
from jobscheduler_tcp.messages import (
    Challenge,
    EndAcknowledged,
    Hello,
    ListenerProof,
    OutputAcknowledged,
    TaskAttached,
    TaskEnded,
    TaskStarted,
)
from jobscheduler_tcp.outcome import Reason

INSTANCE = "4be0643f-1d98-4a72-90b4-6b1a3d8c0f10"
ENDED = TaskEnded(Reason.EXITED, 0)


class TableTests(SynchronousTestCase):
    """
    The tables make sense.
    """

    scripts: tuple[tuple[str, Script], ...] = (
        ("command", COMMAND),
        ("handshake", HANDSHAKE),
        ("task", TASK),
    )

    def test_reachable(self) -> None:
        """
        Every place of a table is reached from where a conversation opens, and every
        place that is reached is in the table.
        """
        for name, script in self.scripts:
            with self.subTest(script=name):
                reached: set[Place] = set()
                waiting = [Place.OPENED]
                while waiting:
                    place = waiting.pop()
                    if place not in reached:
                        reached.add(place)
                        waiting += script[place].values()
                self.assertEqual(reached, set(script))

    def test_everyMessage(self) -> None:
        """
        Every message has its speaker: requests and what is said of output and input
        the client, answers and what is said of the task the remote, heartbeats both.
        """
        spoken: dict[Role, set[type]] = {Role.CLIENT: set(), Role.REMOTE: set()}
        for _, script in self.scripts:
            for allowed in script.values():
                for role, message in allowed:
                    spoken[role].add(message)
        self.assertEqual(
            spoken[Role.CLIENT],
            {*messages.Request.__args__, *messages.FromClient.__args__}
            | {messages.ListenerProof, messages.Heartbeat, messages.TaskAbandoned},
        )
        self.assertEqual(
            spoken[Role.REMOTE],
            {*messages.Answer.__args__, *messages.FromRemote.__args__}
            | {messages.Challenge, messages.CallerProof, messages.Heartbeat}
            | {messages.TaskAbandoned},
        )

    def test_ends(self) -> None:
        """
        Nothing follows the acknowledged end of a task, or the finding that the other
        speaks classic.
        """
        self.assertEqual(TASK[Place.END_ACKNOWLEDGED], {})
        self.assertEqual(COMMAND[Place.CLASSIC], {})
        self.assertEqual(COMMAND[Place.FRAMES], {})

    def test_everyPlaceIsUsed(self) -> None:
        """
        No place is left over.
        """
        used = {place for _, script in self.scripts for place in script}
        self.assertEqual(used, set(Place))


class ConversationTests(SynchronousTestCase):
    """
    Walking a table.
    """

    def test_bothEnds(self) -> None:
        """
        What one end says and the other hears leads both to the same place.
        """
        client, remote = Conversation(TASK, Role.CLIENT), Conversation(TASK, Role.REMOTE)
        for speaker, listener, message, place in (
            (remote, client, TaskAttached(INSTANCE), Place.TASK_ATTACHED),
            (remote, client, TaskStarted(1, 1.0, 1.0), Place.TASK_RUNNING),
            (client, remote, OutputAcknowledged(0, 0), Place.TASK_RUNNING),
            (remote, client, ENDED, Place.TASK_OVER),
            (client, remote, OutputAcknowledged(0, 0), Place.TASK_OVER),
            (client, remote, EndAcknowledged(), Place.END_ACKNOWLEDGED),
        ):
            speaker.speak(message)
            listener.hear(message)
            self.assertIs(speaker.place, place)
            self.assertIs(listener.place, place)

    def test_culprit(self) -> None:
        """
        Saying the wrong thing is our fault, hearing it the peer's; the text says
        who, what and where, and one is where one was.
        """
        for role, peer in ((Role.CLIENT, "remote"), (Role.REMOTE, "client")):
            conversation = Conversation(COMMAND, role)
            for wrong in (ENDED, object()):
                with self.assertRaises(LocalProtocolError) as ours:
                    conversation.speak(wrong)
                with self.assertRaises(RemoteProtocolError) as theirs:
                    conversation.hear(wrong)
                said = type(wrong).__name__
                self.assertEqual(
                    str(ours.exception),
                    f"the {role.value} may not say {said} while the conversation is opened",
                )
                self.assertEqual(
                    str(theirs.exception),
                    f"the {peer} may not say {said} while the conversation is opened",
                )
            self.assertIs(conversation.place, Place.OPENED)

    def test_wrongSpeaker(self) -> None:
        """
        The right words from the wrong end are refused.
        """
        hello = Hello(1, 1, INSTANCE)
        with self.assertRaises(LocalProtocolError):
            Conversation(COMMAND, Role.REMOTE).speak(hello)
        with self.assertRaises(RemoteProtocolError):
            Conversation(COMMAND, Role.CLIENT).hear(hello)
        client = Conversation(HANDSHAKE, Role.CLIENT)
        with self.assertRaises(LocalProtocolError):
            client.speak(Challenge(bytes(16), bytes(8)))
        client.hear(Challenge(bytes(16), bytes(8)))
        with self.assertRaises(RemoteProtocolError):
            client.hear(ListenerProof(bytes(16), bytes(32), 1))
        client.speak(ListenerProof(bytes(16), bytes(32), 1))
        self.assertIs(client.place, Place.LISTENER_PROVEN)
