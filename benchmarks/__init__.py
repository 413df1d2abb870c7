"""
What it costs. See README.md beside this file.
"""
