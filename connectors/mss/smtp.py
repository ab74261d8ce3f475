"""The SMTP client under its former name; the code is in `connectors.smtp.pool`."""

from connectors.smtp.pool import Envelope, SmtpPool, transparent, xtext

__all__ = ["Envelope", "SmtpPool", "transparent", "xtext"]
