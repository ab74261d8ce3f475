"""The journal: one database with messages, payloads, documents, deliveries, attempts and facts."""
