-- Schema 10: rows of ADT may be removed. What points to a message is found by an index.

CREATE INDEX ix_report_to_message_id ON report_to (message_id);
CREATE INDEX incident_of_message ON incident (message_id) WHERE message_id IS NOT NULL;
