-- The statements of the ACK path and of the engine. Times are seconds since the epoch; final states are those that the
-- state machine has no way out of (gateway/exchange/delivery.py; a test keeps this file in step with it).

-- CROSS JOIN is SQLite's way to fix the order of a join: the few rows of one document or set first, never the backlog.
-- PostgreSQL takes it as a plain join, and what stands in /*pg …*/: there several nodes are at work at once. Its
-- transactions are READ COMMITTED: a statement sees what was committed before it began, so what is read after
-- `sql.lock`, or with FOR UPDATE, is the last that there is.

-- === messages =======================================================================================================

-- name: message_by_dedup_key
SELECT id, sha256, ack, ack_code FROM message WHERE dedup_key = :dedup_key

-- name: insert_payload
INSERT INTO payload (sha256, size, content) VALUES (:sha256, :size, :content) RETURNING id

-- A payload too big for one commit: its parts, each in a commit of its own; pending until a message holds it.
-- name: insert_payload_pending
INSERT INTO payload_pending (payload_id, node) VALUES (:payload_id, :node)

-- name: insert_payload_part
INSERT INTO payload_part (payload_id, position, content) VALUES (:payload_id, :position, :content)

-- Held by whoever writes it, whole: a node that was taken for dead may come back while others remove the parts.
-- name: payload_is_held
DELETE FROM payload_pending
 WHERE payload_id = :payload_id AND node = :node
   AND (SELECT count(*) FROM payload_part WHERE payload_id = :payload_id) * :part
       >= (SELECT size FROM payload WHERE id = :payload_id)

-- name: payload_is_removed
DELETE FROM payload_pending WHERE payload_id = :payload_id

-- name: payload_pending
SELECT payload_id FROM payload_pending WHERE payload_id = :payload_id /*pg FOR UPDATE*/

-- name: payloads_pending
SELECT payload_id FROM payload_pending ORDER BY payload_id

-- name: delete_last_part
DELETE FROM payload_part
 WHERE payload_id = :payload_id
   AND position = (SELECT max(position) FROM payload_part WHERE payload_id = :payload_id)

-- name: payload_content
SELECT content, size FROM payload WHERE id = :payload_id

-- name: delete_payload
DELETE FROM payload WHERE id = :payload_id

-- name: payload_parts
SELECT content FROM payload_part WHERE payload_id = :payload_id AND position BETWEEN :first AND :last ORDER BY position

-- name: payloads_after
SELECT id FROM payload WHERE id > :last ORDER BY id LIMIT :limit

-- name: payload_to_verify
SELECT sha256, size, content,
       EXISTS (SELECT 1 FROM payload_pending WHERE payload_id = payload.id) AS pending
  FROM payload WHERE id = :payload_id

-- name: documents_after
SELECT id FROM document WHERE id > :last ORDER BY id LIMIT :limit

-- name: insert_message
INSERT INTO message (correlation, payload_id, sha256, size, dedup_key, control_id, sender, message_type, peer, state,
                     findings, routing, received_at, node)
VALUES (:correlation, :payload_id, :sha256, :size, :dedup_key, :control_id, :sender, :message_type, :peer, 'received',
        '[]', '{}', :now, :node)
RETURNING id

-- The one answer. AR frees the MSH-10: the message may be sent again.
-- name: answer_message
UPDATE message
   SET state = 'answered', ack_code = :code, ack = :ack, findings = :findings, routing = :routing, answered_at = :now,
       dedup_key = CASE :code WHEN 'AR' THEN NULL ELSE dedup_key END
 WHERE id = :message_id AND state = 'received'

-- name: unanswered_messages
SELECT id FROM message WHERE state = 'received' ORDER BY id

-- The answer that a message has already: whoever comes second gives the first one's.
-- name: answer_of_message
SELECT ack_code, ack FROM message WHERE id = :message_id AND state = 'answered'

-- name: message_to_answer
SELECT id FROM message WHERE id = :message_id AND state = 'received' /*pg FOR UPDATE*/

-- name: message_for_answer
SELECT m.correlation, p.content,
       (SELECT content FROM payload_part WHERE payload_id = p.id AND position = 0) AS first_part
  FROM message m JOIN payload p ON p.id = m.payload_id
 WHERE m.id = :message_id

-- name: message_payload_id
SELECT payload_id FROM message WHERE id = :message_id

-- name: message_routing
SELECT control_id, routing FROM message WHERE id = :message_id

-- === documents ======================================================================================================

-- name: insert_document
INSERT INTO document (message_id, part, uid, set_key, version, replaces_uid, action, type_code, author_organisations,
                      patient, sha256, size, payload_id, slice_offset, slice_length, accepted_at, about)
VALUES (:message_id, :part, :uid, :set_key, :version, :replaces_uid, :action, :type_code, :author_organisations,
        :patient, :sha256, :size, :payload_id, :slice_offset, :slice_length, :now, :about)
RETURNING id

-- name: document_slice
SELECT p.content, d.payload_id, d.slice_offset, d.slice_length, d.sha256
  FROM document d JOIN payload p ON p.id = d.payload_id
 WHERE d.id = :document_id

-- name: documents_by_uid
SELECT id, message_id, uid, set_key, version, sha256, author_organisations, patient, action FROM document
 WHERE uid = :key ORDER BY id

-- name: documents_by_set
SELECT id, message_id, uid, set_key, version, sha256, author_organisations, patient, action FROM document
 WHERE set_key = :key ORDER BY id

-- name: uids_by_message
SELECT uid FROM document WHERE message_id = :message_id ORDER BY id

-- name: delivery_states_of_document
SELECT d.state FROM delivery_document dd CROSS JOIN delivery d ON d.id = dd.delivery_id
 WHERE dd.uid = :uid AND dd.document_id = :document_id

-- The versions of a document's past, as it was brought here (not the deletions, which carry it once more).
-- name: document_brought
SELECT replaces_uid FROM document WHERE uid = :uid AND action <> 'delete' ORDER BY id LIMIT 1

-- === deliveries =====================================================================================================

-- An unfinished delivery to the same mailbox or system that carries a version of the same set, before `before`.
-- name: open_delivery_of_set
SELECT d.id FROM delivery_document dd CROSS JOIN delivery d ON d.id = dd.delivery_id
 WHERE dd.set_key = :set_key AND d.destination = :destination AND d.recipient = :recipient
   AND d.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded') AND d.id < :before
 LIMIT 1

-- name: held_deliveries_of_set
SELECT d.id FROM delivery_document dd CROSS JOIN delivery d ON d.id = dd.delivery_id
 WHERE dd.set_key = :set_key AND d.destination = :destination AND d.recipient = :recipient AND d.state = 'held'
 ORDER BY d.id

-- name: set_keys_of_delivery
SELECT DISTINCT set_key FROM delivery_document WHERE delivery_id = :delivery_id

-- name: insert_delivery
INSERT INTO delivery (message_id, mail_id, payload_id, destination, recipient, action, state, attempts, due_at,
                      expires_at, plan, code, label, created_at)
VALUES (:message_id, :mail_id, :payload_id, :destination, :recipient, :action, :state, 0, :now, :expires_at, :plan,
        '', '', :now)
RETURNING id

-- name: insert_delivery_key
INSERT INTO delivery_key (key, delivery_id) VALUES (:key, :delivery_id)

-- name: insert_delivery_document
INSERT INTO delivery_document (delivery_id, position, document_id, uid, set_key)
VALUES (:delivery_id, :position, :document_id, :uid, :set_key)

-- Who carried this document there before. Submit and replace count as one: `deletion` is 0 or 1.
-- name: earlier_deliveries
SELECT d.id, d.state, d.plan, d.outcome, d.code, d.label,
       (SELECT a.details FROM attempt a WHERE a.delivery_id = d.id ORDER BY a.id DESC LIMIT 1) AS details
  FROM delivery_document dd CROSS JOIN delivery d ON d.id = dd.delivery_id
 WHERE dd.uid = :uid AND d.destination = :destination AND d.recipient = :recipient
   AND CASE WHEN d.action = 'delete' THEN 1 ELSE 0 END = :deletion
 ORDER BY d.id

-- An earlier delivery of the same bytes there, of which an attempt may have happened unseen.
-- name: may_be_there
SELECT EXISTS (
  SELECT 1
    FROM delivery_document dd
         CROSS JOIN delivery d ON d.id = dd.delivery_id
         CROSS JOIN document o ON o.id = dd.document_id
   WHERE dd.uid = :uid AND o.sha256 = :sha256 AND d.id < :delivery_id
     AND d.destination = :destination AND d.recipient = :recipient AND d.action <> 'delete'
     AND EXISTS (SELECT 1 FROM attempt a WHERE a.delivery_id = d.id AND a.outcome = 'uncertain'))

-- name: insert_report_to
INSERT INTO report_to (delivery_id, message_id) VALUES (:delivery_id, :message_id)

-- name: told_of_delivery
SELECT message_id FROM report_to WHERE delivery_id = :delivery_id ORDER BY message_id

-- Nodes that claim at once pass over what the others take; one that was buried takes nothing more.
-- An uncertain delivery stays uncertain while it is looked into; a suspended one is the circuit's probe.
-- name: claim_deliveries
UPDATE delivery
   SET claimed_by = :token, attempts = attempts + 1,
       state = CASE state WHEN 'uncertain' THEN 'uncertain' ELSE 'sending' END
 WHERE id IN (SELECT id FROM delivery
               WHERE destination = :destination AND state IN ('ready', 'uncertain', 'suspended')
                 AND claimed_by IS NULL AND due_at <= :now
                 /*pg AND EXISTS (SELECT 1 FROM node WHERE token = :token FOR KEY SHARE)*/
               ORDER BY due_at, id LIMIT :limit /*pg FOR UPDATE SKIP LOCKED*/)
RETURNING id, message_id, mail_id, payload_id, destination, recipient, action, plan, attempts, state, expires_at,
          (SELECT control_id FROM message WHERE message.id = delivery.message_id) AS control_id,
          (SELECT size FROM payload WHERE payload.id = delivery.payload_id) AS payload_size

-- name: next_due_delivery
SELECT min(due_at) FROM delivery
 WHERE destination = :destination AND state IN ('ready', 'uncertain', 'suspended') AND claimed_by IS NULL

-- Due later than anything is ever put off: it was put off before the clock went back.
-- name: due_too_far
UPDATE delivery SET due_at = :now
 WHERE destination = :destination AND state IN ('ready', 'uncertain', 'suspended') AND claimed_by IS NULL
   AND due_at > :farthest

-- name: documents_of_delivery
SELECT d.id, d.uid, d.sha256, d.size, d.replaces_uid
  FROM delivery_document dd CROSS JOIN document d ON d.id = dd.document_id
 WHERE dd.delivery_id = :delivery_id ORDER BY dd.position

-- Deliveries of this version there: whether it succeeded, and whether an attempt may have happened unseen.
-- name: deliveries_there
SELECT d.state = 'succeeded' AS succeeded,
       EXISTS (SELECT 1 FROM attempt a WHERE a.delivery_id = d.id AND a.outcome = 'uncertain') AS uncertain
  FROM delivery_document dd CROSS JOIN delivery d ON d.id = dd.delivery_id
 WHERE dd.uid = :uid AND d.destination = :destination AND d.recipient = :recipient AND d.action <> 'delete'

-- name: count_uncertain_attempts
SELECT count(*) FROM attempt
 WHERE delivery_id = :delivery_id AND outcome = 'uncertain' AND kind IN ('deliver', 'recovery')

-- Of an unknown outcome: when the last try ended, and whether a receipt says meanwhile that it arrived.
-- name: uncertain_delivery
SELECT (SELECT max(ended_at) FROM attempt WHERE delivery_id = :delivery_id AND kind IN ('deliver', 'recovery')) AS since,
       EXISTS (SELECT 1 FROM receipt WHERE delivery_id = :delivery_id
                  AND (fact = 'received' OR event = 'Z03')) AS arrived

-- The row's lock is against a take-over: a node that was thought dead settles before it, or not at all.
-- name: claimed_delivery
SELECT state FROM delivery WHERE id = :delivery_id AND claimed_by = :token /*pg FOR UPDATE*/

-- The time that a configuration fault takes is given back to the delivery's lifetime.
-- name: settle_delivery
UPDATE delivery
   SET expires_at = expires_at + CASE WHEN :state = 'suspended' AND :now > due_at THEN :now - due_at ELSE 0 END,
       state = :state, claimed_by = NULL, outcome = :outcome, code = :code, label = :label,
       due_at = coalesce(:due_at, due_at), finished_at = :finished_at
 WHERE id = :delivery_id

-- name: make_ready
UPDATE delivery SET state = 'ready', due_at = :now WHERE id = :delivery_id

-- name: insert_attempt
INSERT INTO attempt (delivery_id, number, kind, started_at, ended_at, outcome, code, label, details)
VALUES (:delivery_id, :number, :kind, :started_at, :ended_at, :outcome, :code, :label, :details)

-- === recovery and circuits ==========================================================================================

-- In hand of a process that is no more; `token` NULL: of any.
-- name: deliveries_in_hand
SELECT id, attempts FROM delivery
 WHERE state = 'sending' AND coalesce(claimed_by, '') = coalesce(:token, claimed_by, '') ORDER BY id /*pg FOR UPDATE*/

-- name: sending_becomes_uncertain
UPDATE delivery SET state = 'uncertain', due_at = :now
 WHERE state = 'sending' AND coalesce(claimed_by, '') = coalesce(:token, claimed_by, '')

-- `NOT IN` is for the index of open deliveries: all those that ever were would be read.
-- name: suspended_becomes_ready
UPDATE delivery
   SET state = 'ready', expires_at = expires_at + CASE WHEN :now > due_at THEN :now - due_at ELSE 0 END, due_at = :now
 WHERE state = 'suspended' AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')

-- name: free_claims
UPDATE delivery SET claimed_by = NULL
 WHERE claimed_by IS NOT NULL AND coalesce(claimed_by, '') = coalesce(:token, claimed_by, '')
   AND claimed_by <> 'operator' AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')

-- === nodes: the processes that share a journal ======================================================================

-- name: insert_node
INSERT INTO node (token, name, beat, started_at) VALUES (:token, :name, 1, :now)

-- name: beat_node
UPDATE node SET beat = beat + 1 WHERE token = :token

-- name: nodes
SELECT token, beat FROM node

-- name: node_there
SELECT 1 FROM node WHERE token = :token

-- A dead node's row is gone for one taker only, and not if it gave a sign of life in between.
-- name: bury_node
DELETE FROM node WHERE token = :token AND beat = :beat

-- name: delete_node
DELETE FROM node WHERE token = :token

-- name: take_duty
INSERT INTO duty (name, node) VALUES (:name, :node)
ON CONFLICT (name) DO UPDATE SET node = excluded.node
 WHERE duty.node = excluded.node OR NOT EXISTS (SELECT 1 FROM node WHERE token = duty.node)

-- Tokens of nodes that are no more, by what they left.
-- name: orphan_tokens
SELECT claimed_by AS token FROM delivery
 WHERE claimed_by IS NOT NULL AND claimed_by <> 'operator' AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
 UNION SELECT node FROM message WHERE state = 'received'
 UNION SELECT node FROM payload_pending
EXCEPT SELECT token FROM node

-- name: adopt_message
UPDATE message SET node = :node WHERE id = :message_id AND state = 'received'

-- name: adopt_messages
UPDATE message SET node = :node WHERE state = 'received' AND node = :dead RETURNING id

-- name: adopt_payloads
UPDATE payload_pending SET node = :node WHERE node = :dead RETURNING payload_id

-- name: duties
SELECT name, node FROM duty

-- name: delete_duties
DELETE FROM duty WHERE node = :node

-- name: count_open_deliveries
SELECT count(*) FROM delivery WHERE state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')

-- name: lengthen_lifetimes
UPDATE delivery SET expires_at = expires_at + :seconds
 WHERE destination = :destination AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
   AND state <> 'suspended'

-- name: resume_suspended
UPDATE delivery
   SET state = 'ready', expires_at = expires_at + CASE WHEN :now > due_at THEN :now - due_at ELSE 0 END, due_at = :now
 WHERE destination = :destination AND state = 'suspended'
   AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')

-- name: open_destinations
SELECT DISTINCT destination FROM delivery WHERE state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')

-- name: queue_depths
SELECT destination, CASE WHEN claimed_by = 'operator' THEN 'on_hold' ELSE state END AS state, count(*) AS depth,
       min(created_at) AS oldest
  FROM delivery
 WHERE state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
 GROUP BY 1, 2

-- === retention ======================================================================================================

-- Of errors that are not told, or whose report is on its way or failed.
-- name: retention_unreported
SELECT i.message_id, i.mail_id
  FROM incident i LEFT JOIN delivery d ON d.id = i.report_id LEFT JOIN error_report e ON e.delivery_id = i.report_id
 WHERE (i.report_id IS NULL AND :reporting = 1)
    OR d.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
    OR (e.failed_at IS NOT NULL AND e.resolved_at IS NULL)

-- name: retention_messages
SELECT m.id, m.payload_id, m.size FROM message m
 WHERE m.id > :after AND m.state = 'answered' AND m.received_at < :before AND m.answered_at < :before
   AND NOT EXISTS (SELECT 1 FROM payload_emptied e WHERE e.payload_id = m.payload_id)
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message_id = m.id
                      AND (d.finished_at IS NULL OR d.finished_at >= :before))
   AND NOT EXISTS (SELECT 1 FROM delivery d CROSS JOIN awaited a ON a.delivery_id = d.id WHERE d.message_id = m.id)
 ORDER BY m.id LIMIT :limit

-- What is set aside for a person stays until the person has seen it.
-- name: retention_mails
SELECT r.id FROM received_mail r
 WHERE r.id > :after AND r.state = 'treated' AND r.treated_at < :before AND r.filed_at IS NOT NULL
   AND (r.seen_at IS NOT NULL OR r.kind NOT IN ('quarantine', 'too-large'))
   AND NOT EXISTS (SELECT 1 FROM payload_emptied e WHERE e.payload_id = r.payload_id)
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.mail_id = r.id
                      AND (d.finished_at IS NULL OR d.finished_at >= :before))
   AND NOT EXISTS (SELECT 1 FROM delivery d CROSS JOIN awaited a ON a.delivery_id = d.id WHERE d.mail_id = r.id)
 ORDER BY r.id LIMIT :limit

-- name: retention_payloads_of_mail
SELECT p.id, p.size FROM payload p
 WHERE p.id IN (SELECT payload_id FROM received_mail WHERE id = :mail_id
                UNION SELECT payload_id FROM delivery WHERE mail_id = :mail_id AND payload_id IS NOT NULL)
   AND NOT EXISTS (SELECT 1 FROM payload_emptied e WHERE e.payload_id = p.id)

-- name: empty_payload
UPDATE payload SET content = :content WHERE id = :payload_id

-- name: delete_parts
DELETE FROM payload_part WHERE payload_id = :payload_id

-- name: payload_is_emptied
INSERT INTO payload_emptied (payload_id, at) VALUES (:payload_id, :now) ON CONFLICT (payload_id) DO NOTHING

-- name: is_emptied
SELECT 1 FROM payload_emptied WHERE payload_id = :payload_id

-- name: retention_deliveries
SELECT d.id FROM delivery d
 WHERE d.id > :after AND d.finished_at < :before AND length(d.plan) > 0
   AND NOT EXISTS (SELECT 1 FROM awaited a WHERE a.delivery_id = d.id)
   AND NOT EXISTS (SELECT 1 FROM error_report e WHERE e.delivery_id = d.id AND e.failed_at IS NOT NULL
                      AND e.resolved_at IS NULL)
 ORDER BY d.id LIMIT :limit

-- ADT that nothing points to. Never the newest row: its number would be given again.
-- name: retention_adt
SELECT m.id FROM message m
 WHERE m.id > :after AND m.state = 'answered' AND m.received_at < :before AND m.answered_at < :before
   AND substr(m.message_type, 1, 3) = 'ADT' AND m.id < (SELECT max(id) FROM message)
   AND NOT EXISTS (SELECT 1 FROM document d WHERE d.message_id = m.id)
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message_id = m.id)
   AND NOT EXISTS (SELECT 1 FROM report_to r WHERE r.message_id = m.id)
   AND NOT EXISTS (SELECT 1 FROM incident i WHERE i.message_id = m.id)
 ORDER BY m.id LIMIT :limit

-- name: delete_message
DELETE FROM message WHERE id = :message_id RETURNING payload_id

-- name: delete_attempts
DELETE FROM attempt WHERE delivery_id = :delivery_id AND outcome <> 'uncertain'

-- name: trim_delivery
UPDATE delivery SET plan = :plan, label = '' WHERE id = :delivery_id

-- === by hand ========================================================================================================

-- A hold is a claim in a person's name: whatever its state, nobody else takes it (docs/decisions/0032).
-- name: delivery_by_hand
SELECT d.id, d.message_id, d.mail_id, d.destination, d.recipient, d.action, d.state, d.claimed_by, d.plan,
       (SELECT control_id FROM message m WHERE m.id = d.message_id) AS control_id,
       EXISTS (SELECT 1 FROM attempt a WHERE a.delivery_id = d.id AND a.outcome = 'uncertain') AS may_have_happened
  FROM delivery d WHERE d.id = :delivery_id /*pg FOR UPDATE OF d*/

-- name: uids_of_delivery
SELECT uid FROM delivery_document WHERE delivery_id = :delivery_id ORDER BY position

-- The time that it is kept back is given back to its lifetime.
-- name: hold_delivery
UPDATE delivery
   SET expires_at = expires_at + CASE WHEN state = 'suspended' AND :now > due_at THEN :now - due_at ELSE 0 END,
       claimed_by = 'operator', due_at = :now
 WHERE id = :delivery_id AND claimed_by IS NULL

-- name: release_delivery
UPDATE delivery
   SET expires_at = expires_at + CASE WHEN :now > due_at THEN :now - due_at ELSE 0 END, claimed_by = NULL, due_at = :now
 WHERE id = :delivery_id AND claimed_by = 'operator'

-- name: retry_delivery
UPDATE delivery SET due_at = :now WHERE id = :delivery_id AND state IN ('ready', 'uncertain') AND due_at > :now

-- name: cancel_delivery
UPDATE delivery SET state = 'cancelled', claimed_by = NULL, code = '', label = :label, finished_at = :now
 WHERE id = :delivery_id

-- name: open_deliveries_to
SELECT id FROM delivery
 WHERE destination = :destination AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded') ORDER BY id

-- What is told to the DPI of a message is not meant.
-- name: open_deliveries_of
SELECT d.id, m.sender FROM message m CROSS JOIN delivery d ON d.message_id = m.id
 WHERE m.control_id = :control_id AND d.destination <> 'dpi'
   AND d.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
 ORDER BY d.id

-- name: deliveries_for_people
SELECT d.id, d.destination, d.recipient, d.action, d.state, d.claimed_by, d.attempts, d.due_at, d.expires_at, d.outcome,
       d.code, d.label, d.created_at, d.finished_at,
       (SELECT control_id FROM message m WHERE m.id = d.message_id) AS control_id
  FROM delivery d
 WHERE d.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded') AND d.id > :after
   AND d.destination = coalesce(:destination, d.destination)
 ORDER BY d.id LIMIT :limit

-- name: delivery_for_people
SELECT d.id, d.destination, d.recipient, d.action, d.state, d.claimed_by, d.attempts, d.due_at, d.expires_at, d.outcome,
       d.code, d.label, d.created_at, d.finished_at,
       (SELECT control_id FROM message m WHERE m.id = d.message_id) AS control_id
  FROM delivery d WHERE d.id = :delivery_id

-- name: attempts_of_delivery
SELECT number, kind, started_at, ended_at, outcome, code, label FROM attempt WHERE delivery_id = :delivery_id ORDER BY id

-- What it waits for: older ones of its set, to the same destination and recipient.
-- name: ahead_of_delivery
SELECT DISTINCT o.id FROM delivery d
       CROSS JOIN delivery_document own ON own.delivery_id = d.id
       CROSS JOIN delivery_document dd ON dd.set_key = own.set_key
       CROSS JOIN delivery o ON o.id = dd.delivery_id
 WHERE d.id = :delivery_id AND o.destination = d.destination AND o.recipient = d.recipient AND o.id < d.id
   AND o.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
 ORDER BY o.id

-- name: newest_message
SELECT coalesce(max(id), 0) FROM message

-- name: messages_since
SELECT sender, max(received_at) AS at, max(id) AS last FROM message WHERE id > :last GROUP BY sender

-- name: mail_by_hand
SELECT r.id, r.mailbox, r.state, r.kind, r.reason, r.sha256, r.seen_at, r.received_at, r.treated_at, r.size, p.size AS kept,
       length(p.content) AS there, (SELECT count(*) FROM payload_part c WHERE c.payload_id = p.id) AS parts,
       EXISTS (SELECT 1 FROM receipt c WHERE c.mail_id = r.id) AS receipts,
       EXISTS (SELECT 1 FROM delivery d WHERE d.mail_id = r.id) AS deliveries
  FROM received_mail r CROSS JOIN payload p ON p.id = r.payload_id
 WHERE r.id = :mail_id /*pg FOR UPDATE OF r*/

-- name: retry_mail
UPDATE received_mail
   SET state = 'received', kind = '', reason = '', findings = '[]', attempts = 0, due_at = :now, treated_at = NULL,
       seen_at = NULL
 WHERE id = :mail_id AND state = 'treated'

-- name: mail_seen
UPDATE received_mail SET seen_at = :now WHERE id = :mail_id AND state = 'treated'

-- Received mails that wait for a person, the last first.
-- name: mails_for_people
SELECT id, mailbox, kind, reason, size, received_at, treated_at FROM received_mail
 WHERE treated_at IS NOT NULL AND seen_at IS NULL AND (reason <> '' OR kind IN ('quarantine', 'too-large'))
 ORDER BY id DESC LIMIT :limit

-- === facts ==========================================================================================================

-- name: insert_fact
INSERT INTO fact (kind, at, message_id, delivery_id, data) VALUES (:kind, :now, :message_id, :delivery_id, :data)

-- === facts of the indicators ========================================================================================

-- name: insert_indicator_fact
INSERT INTO indicator_fact (fact_id, digest, fact, finess, at, known_at, source, body)
VALUES (:fact_id, :digest, :fact, :finess, :at, :known_at, :source, :body)
ON CONFLICT (fact_id) DO NOTHING

-- name: digest_of_fact
SELECT digest FROM indicator_fact WHERE fact_id = :fact_id

-- What the facts of a delivery say of its documents; those that a mail brought have none.
-- name: documents_for_facts
SELECT m.correlation, m.control_id, dd.position, d.uid, dd.set_key, d.version, d.type_code, d.about
  FROM delivery_document dd CROSS JOIN document d ON d.id = dd.document_id CROSS JOIN message m ON m.id = d.message_id
 WHERE dd.delivery_id = :delivery_id ORDER BY dd.position

-- name: received_for_facts
SELECT uid, type_code, action, about FROM received_document
 WHERE mail_id = :mail_id AND delivery_id = :delivery_id ORDER BY position

-- name: indicator_fact_exists
SELECT 1 FROM indicator_fact WHERE fact_id = :fact_id

-- name: newest_indicator_fact
SELECT coalesce(max(id), 0) FROM indicator_fact

-- name: indicator_facts_after
SELECT id, body FROM indicator_fact
 WHERE id > :last AND id <= :newest AND known_at <= :as_of ORDER BY id LIMIT :limit

-- name: indicator_facts_by_kind
SELECT finess, fact, source, count(*) AS number, max(known_at) AS last FROM indicator_fact
 GROUP BY finess, fact, source ORDER BY finess, fact, source

-- name: insert_indicator_secret
INSERT INTO indicator_secret (id, secret, fingerprint) VALUES (1, :secret, :fingerprint) ON CONFLICT (id) DO NOTHING

-- name: indicator_secret
SELECT secret, fingerprint FROM indicator_secret WHERE id = 1

-- === received mails =================================================================================================

-- name: insert_received_mail
INSERT INTO received_mail (connector, mailbox, place, payload_id, sha256, size, state, kind, reason, findings, attempts,
                           due_at, received_at)
VALUES (:connector, :mailbox, :place, :payload_id, :sha256, :size, 'received', '', '', '[]', 0, :now, :now)
RETURNING id

-- name: received_mail_at
SELECT id FROM received_mail WHERE mailbox = :mailbox AND place = :place

-- The same bytes, kept before under another place (the mailbox was restored, or the operator delivered twice).
-- name: received_mails_before
SELECT place, state, kind, reason FROM received_mail
 WHERE sha256 = :sha256 AND mailbox = :mailbox AND id < :mail_id ORDER BY id LIMIT 1000

-- name: due_mails
SELECT id, connector, mailbox, place, payload_id, sha256, size, state, attempts FROM received_mail
 WHERE state IN ('received', 'ended') AND (due_at <= :now OR due_at > :farthest)
 ORDER BY due_at, id LIMIT :limit

-- name: next_due_mail
SELECT min(due_at) FROM received_mail WHERE state IN ('received', 'ended')

-- name: postpone_mail
UPDATE received_mail SET attempts = attempts + :tries, due_at = :due_at WHERE id = :mail_id

-- name: mail_forwarded
UPDATE received_mail SET state = 'forwarded', kind = 'inbound', findings = :findings
 WHERE id = :mail_id AND state = 'received'

-- Its last delivery to the DPI has ended: what follows is due. (`coalesce`: by the mail's few deliveries, not by all that
-- are open for the DPI.)
-- name: mail_ended
UPDATE received_mail SET state = 'ended', attempts = 0, due_at = :now
 WHERE id = :mail_id AND state = 'forwarded'
   AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.mail_id = received_mail.id AND coalesce(d.destination, '') = 'dpi'
                      AND d.state NOT IN ('cancelled', 'expired', 'refused', 'succeeded'))

-- name: mail_treated
UPDATE received_mail SET state = 'treated', kind = :kind, reason = :reason, findings = :findings, treated_at = :now
 WHERE id = :mail_id AND state <> 'treated'

-- name: mail_findings
SELECT findings FROM received_mail WHERE id = :mail_id

-- name: mails_to_file
SELECT id, connector, mailbox, place, kind, reason FROM received_mail
 WHERE treated_at IS NOT NULL AND filed_at IS NULL AND id > :after ORDER BY id LIMIT :limit

-- name: mail_filed
UPDATE received_mail SET filed_at = :now WHERE id = :mail_id

-- name: deliveries_of_mail
SELECT d.id, d.destination, d.state, d.outcome, d.code, d.label, dd.uid,
       (SELECT a.details FROM attempt a WHERE a.delivery_id = d.id ORDER BY a.id DESC LIMIT 1) AS details
  FROM delivery d LEFT JOIN delivery_document dd ON dd.delivery_id = d.id
 WHERE d.mail_id = :mail_id AND d.destination = 'dpi'
 ORDER BY d.id

-- name: insert_received_document
INSERT INTO received_document (mail_id, position, uid, set_key, version, replaces_uid, action, type_code, patient,
                               confidentiality, sha256, size, delivery_id, accepted_at, about)
VALUES (:mail_id, :position, :uid, :set_key, :version, :replaces_uid, :action, :type_code, :patient, :confidentiality,
        :sha256, :size, :delivery_id, :now, :about)
RETURNING id

-- Of one DPI alone: what another one has says nothing about this one.
-- name: received_documents_by_uid
SELECT r.id, r.mail_id, r.uid, r.set_key, r.version, r.sha256, r.patient, r.action, r.confidentiality, d.state
  FROM received_document r CROSS JOIN delivery d ON d.id = r.delivery_id
 WHERE r.uid = :key AND d.recipient = :route ORDER BY r.id

-- name: received_documents_by_set
SELECT r.id, r.mail_id, r.uid, r.set_key, r.version, r.sha256, r.patient, r.action, r.confidentiality, d.state
  FROM received_document r CROSS JOIN delivery d ON d.id = r.delivery_id
 WHERE r.set_key = :key AND d.recipient = :route ORDER BY r.id

-- === receipts =======================================================================================================

-- name: delivery_by_key
SELECT d.id, d.destination, d.recipient, d.plan, d.state, d.message_id
  FROM delivery_key k CROSS JOIN delivery d ON d.id = k.delivery_id
 WHERE k.key = :key

-- name: delivery_by_id
SELECT id, destination, recipient, plan, state, message_id FROM delivery WHERE id = :delivery_id

-- name: insert_receipt
INSERT INTO receipt (mail_id, delivery_id, event, fact, accepted, recipient, recipient_id, code, label, told, at)
VALUES (:mail_id, :delivery_id, :event, :fact, :accepted, :recipient, :recipient_id, :code, :label, :told, :now)
RETURNING id

-- name: receipts_of_delivery
SELECT id, event, fact, recipient, recipient_id, code, label, told, accepted, at FROM receipt
 WHERE delivery_id = :delivery_id ORDER BY id

-- Unless it has come already: a mailbox can be quicker than the commit of the delivery's end.
-- name: insert_awaited
INSERT INTO awaited (delivery_id, due_at)
SELECT :delivery_id, :due_at
 WHERE NOT EXISTS (SELECT 1 FROM receipt WHERE delivery_id = :delivery_id AND event = 'Z02' AND accepted IS NOT NULL)

-- name: delete_awaited
DELETE FROM awaited WHERE delivery_id = :delivery_id

-- name: awaited_due
SELECT delivery_id FROM awaited WHERE due_at <= :now ORDER BY due_at LIMIT :limit

-- === incidents ======================================================================================================

-- name: insert_incident
INSERT INTO incident (at, flow, family, code, route, message_id, mail_id, delivery_id, words, report_id)
VALUES (:now, :flow, :family, :code, :route, :message_id, :mail_id, :delivery_id, :words, NULL)
RETURNING id

-- So many of each family: a flood of one does not hide the errors of others.
-- name: incidents_to_report
SELECT id, at, flow, family, code, route
  FROM (SELECT id, at, flow, family, code, route, row_number() OVER (PARTITION BY family ORDER BY id) AS place
          FROM incident WHERE report_id IS NULL) AS waiting
 WHERE place <= :limit ORDER BY id

-- name: words_of_incident
SELECT words FROM incident WHERE id = :incident_id

-- name: incidents_since
SELECT flow, count(*) AS number, max(id) AS last FROM incident WHERE id > :last GROUP BY flow

-- name: last_incident
SELECT coalesce(max(id), 0) FROM incident

-- Addresses that an error which waits for its report has been told to already (a report to another one failed).
-- name: told_of_waiting_incidents
SELECT r.incident_id, e.mailbox
  FROM incident i CROSS JOIN reported_incident r ON r.incident_id = i.id
       CROSS JOIN error_report e ON e.delivery_id = r.delivery_id
 WHERE i.report_id IS NULL AND e.failed_at IS NULL

-- name: recent_error_reports
SELECT mailbox, family, at FROM error_report WHERE at > :since ORDER BY at

-- name: insert_error_report
INSERT INTO error_report (delivery_id, mailbox, family, at) VALUES (:delivery_id, :mailbox, :family, :now)

-- name: insert_reported_incident
INSERT INTO reported_incident (delivery_id, incident_id) VALUES (:delivery_id, :incident_id)

-- name: incident_reported
UPDATE incident SET report_id = :delivery_id WHERE id = :incident_id AND report_id IS NULL

-- All who must know an error do: it keeps the last report that got through, or is on its way.
-- name: incident_told_already
UPDATE incident
   SET report_id = (SELECT max(r.delivery_id) FROM reported_incident r CROSS JOIN error_report e
                           ON e.delivery_id = r.delivery_id
                     WHERE r.incident_id = incident.id AND e.failed_at IS NULL)
 WHERE id = :incident_id AND report_id IS NULL

-- name: resolve_error_reports_of
UPDATE error_report SET resolved_at = :now
 WHERE failed_at IS NOT NULL AND resolved_at IS NULL AND again_at IS NOT NULL
   AND delivery_id IN (SELECT delivery_id FROM reported_incident WHERE incident_id = :incident_id)

-- name: error_report_failed
UPDATE error_report SET failed_at = :now WHERE delivery_id = :delivery_id

-- name: error_reports_to_repeat
SELECT delivery_id FROM error_report
 WHERE failed_at IS NOT NULL AND resolved_at IS NULL AND again_at IS NULL
   AND (failed_at <= :before OR failed_at > :now)

-- name: next_repeat
SELECT min(failed_at) FROM error_report
 WHERE failed_at IS NOT NULL AND resolved_at IS NULL AND again_at IS NULL

-- name: repeat_error_report
UPDATE error_report SET again_at = :now WHERE delivery_id = :delivery_id

-- name: incidents_given_back
UPDATE incident SET report_id = NULL
 WHERE id IN (SELECT incident_id FROM reported_incident WHERE delivery_id = :delivery_id)

-- What failed and was given back is told by a later report that arrived.
-- name: resolve_error_reports
UPDATE error_report SET resolved_at = :now
 WHERE failed_at IS NOT NULL AND resolved_at IS NULL
   AND again_at <= (SELECT made.at FROM error_report made WHERE made.delivery_id = :delivery_id)
   AND delivery_id IN (SELECT other.delivery_id
                         FROM reported_incident own CROSS JOIN reported_incident other
                              ON other.incident_id = own.incident_id
                        WHERE own.delivery_id = :delivery_id)

-- Reports that did not get through: still tried after a failure, or failed and not told otherwise since.
-- name: error_reports_in_trouble
SELECT (SELECT count(*) FROM delivery
         WHERE destination = 'errors' AND state NOT IN ('cancelled', 'expired', 'refused', 'succeeded')
           AND outcome IS NOT NULL)
     + (SELECT count(*) FROM error_report WHERE failed_at IS NOT NULL AND resolved_at IS NULL) AS number

-- name: originals_of_report
SELECT r.incident_id, me.id AS message_payload, m.size AS message_size, p.id AS mail_payload, p.size AS mail_size,
       k.sha256 <> '' AS complete
  FROM reported_incident r CROSS JOIN incident i ON i.id = r.incident_id
       LEFT JOIN message m ON m.id = i.message_id
       LEFT JOIN received_mail k ON k.id = i.mail_id
       LEFT JOIN payload p ON p.id = k.payload_id
                          AND NOT EXISTS (SELECT 1 FROM payload_emptied e WHERE e.payload_id = p.id)
       LEFT JOIN payload me ON me.id = m.payload_id
                           AND NOT EXISTS (SELECT 1 FROM payload_emptied e WHERE e.payload_id = me.id)
 WHERE r.delivery_id = :delivery_id ORDER BY r.incident_id

-- name: last_incidents
SELECT i.id, i.at, i.flow, i.code, i.route, i.words, i.report_id, d.state, d.recipient, d.attempts, d.finished_at,
       d.code AS report_code, d.label AS report_label, d.due_at, e.failed_at
  FROM incident i LEFT JOIN delivery d ON d.id = i.report_id
       LEFT JOIN error_report e ON e.delivery_id = i.report_id
 ORDER BY i.id DESC LIMIT :limit
