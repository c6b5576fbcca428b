"""Fixtures of the tests of backups."""
