"""
The command line: jsremote.
"""
