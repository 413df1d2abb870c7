"""
Remote job execution with a reverse connection.

The diagram is the design; the module of each arrow stands beside it::

        client                                             remote
          |  OP: an outgoing port                            |
          |  IP: an incoming port: client.ports              |
          |  listen there: client.callback                   |
          |                                                  |
          |===== command connection, OP to host:port =======>|
          |  client.command                   remote.command |
          |----- the IP port, to receive the answer -------->|
          |----- the command to start the remote job ------->|
          |                                                  |
          |  waiting for response: client.job                |
          |                    the life of a task: remote.task
          |                                                  |
          |<==== confirmation connection, OPR to IP =========|
          |  client.callback             remote.confirmation |
          |                                                  |
          |         the separate process: remote.launcher    |
          |<---- the start of the task is confirmed ---------|
          |  waiting for end of task                         |
          |<---- the output of the task ---------------------|
          |<---- the end of the task is confirmed -----------|

What is said stands in L{jobscheduler_tcp.messages}, who may say it when in
L{jobscheduler_tcp.conversation}, how it looks in bytes in
L{jobscheduler_tcp.wire}, how a job can come out in
L{jobscheduler_tcp.outcome}.
"""

__version__ = "0.1.0"
