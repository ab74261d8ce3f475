"""Certificates and keys of connectors: reading, checking, giving them to TLS. Knows no connector."""
