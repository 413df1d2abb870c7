"""
The right lifeline of the diagram: commands heard, tasks, confirmations.
"""
