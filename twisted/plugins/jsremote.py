"""
The C{jsremote} plugin of twistd.
"""

from twisted.application.service import ServiceMaker

jsremote = ServiceMaker(
    "jsremote",
    "jobscheduler_tcp.tap",
    "Remote job execution with a reverse connection",
    "jsremote",
)
