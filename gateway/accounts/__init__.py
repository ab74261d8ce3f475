"""Accounts of people and tokens of programs: passwords, sessions, one-time links, the trace."""
