"""
Messages to bytes and back, one codec a language; nothing here does IO.
"""
