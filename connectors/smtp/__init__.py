"""The SMTP client that connectors share: transport settings, session pool, replies as outcomes. Knows no connector."""
