"""
The tests, for pytest and for trial.
"""
