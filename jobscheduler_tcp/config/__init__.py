"""
JobScheduler configuration files, read into plain data.
"""
