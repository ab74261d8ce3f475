"""What comes back on the applicative MSSanté mailbox, read: DSN, MDN, error mails, documents, automatic mail. Pure.

`reading.read(raw)` says what the bytes of one mail are and what they say; `matching.match(reading, sent)` says which
of our deliveries they speak of and what the DPI is told (ZAM^Z02, ZAM^Z03). What is unknown, unreadable or
contradictory is quarantine with a reason, never a guess: a wrong acknowledgement is worse than a late one.
"""
