"""SMTP replies as outcomes under their former name; the code is in `connectors.smtp.replies`."""

from connectors.smtp.replies import ACCEPTED, Phase, label_of, of_reply, of_tls_fault, outcome, table_code

__all__ = ["ACCEPTED", "Phase", "label_of", "of_reply", "of_tls_fault", "outcome", "table_code"]
