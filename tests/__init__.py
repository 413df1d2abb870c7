"""
The tests, for pytest and for trial.
"""

import signal

# A shell that starts something in the background has it ignore these, and
# nohup does too; programs started by tests would inherit that, and could not be
# interrupted. What is caught here is as usual there.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)
