-- Schema 5: facts outlive the rows that they name (retention): no foreign keys. Mails that a person has seen.

ALTER TABLE fact DROP CONSTRAINT IF EXISTS fact_message_id_fkey;
ALTER TABLE fact DROP CONSTRAINT IF EXISTS fact_delivery_id_fkey;
ALTER TABLE received_mail ADD COLUMN seen_at DOUBLE PRECISION;
CREATE TABLE payload_emptied (
    payload_id INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (payload_id),
    FOREIGN KEY (payload_id) REFERENCES payload (id)
);
