"""The open Ségur DPI/PFI gateway: HL7v2 in, one ACK out, durable deliveries to the DMP and MSSanté."""

__version__ = "0.1.0"
