"""
The left lifeline of the diagram: ports, callbacks, commands, jobs.
"""
