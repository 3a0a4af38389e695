-- Queueing: rows go into lanes that nobody can claim from, and are released by one short transaction at the end.

-- name: find_route
INSERT INTO route (author, envelope_from, relays) VALUES (:author, :envelope_from, :relays)
ON CONFLICT (author, envelope_from, relays) DO UPDATE SET author = excluded.author
RETURNING id

-- name: insert_campaign
INSERT INTO campaign (name, kind, state, version, settings, route_id, priority, on_uncertain, start_at, expires_at, created_at)
VALUES (:name, :kind, 'loading', 1, :settings, :route_id, :priority, :on_uncertain, :start_at, :expires_at, :now)
RETURNING id

-- name: insert_content
INSERT INTO content (campaign_id, version, digest, body, created_at) VALUES (:campaign, :version, :digest, :body, :now)

-- name: insert_attachment
INSERT INTO attachment (digest, data) VALUES (:digest, :data) ON CONFLICT DO NOTHING

-- name: missing_attachments
SELECT value FROM json_each(:digests) WHERE value NOT IN (SELECT digest FROM attachment)

-- name: insert_content_attachment
INSERT INTO content_attachment (campaign_id, version, digest) VALUES (:campaign, :version, :digest) ON CONFLICT DO NOTHING

-- name: load_of
SELECT id, first_message_id, loader, heartbeat_at FROM load WHERE campaign_id = :campaign

-- name: insert_load
INSERT INTO load (campaign_id, first_message_id, owner, loader, heartbeat_at)
SELECT :campaign, coalesce(max(id), 0) + 1, :owner, :loader, :now FROM message
RETURNING id

-- name: load_heartbeat
UPDATE load SET heartbeat_at = :now WHERE id = :load AND owner = :owner

-- name: take_over_load
-- Its loader, should it still live, finds out with its next heartbeat.
UPDATE load SET owner = :owner, loader = :loader, heartbeat_at = :now WHERE id = :load

-- name: last_message_id
SELECT coalesce(max(id), 0) FROM message

-- name: insert_lane
INSERT INTO lane (campaign_id, load_id, destination, route_id, weight, state, pass)
VALUES (:campaign, :load, :destination, :route_id, :weight, 'closed', 0)
RETURNING id

-- name: insert_message
INSERT INTO message (campaign_id, lane_id, address, address_key, fields, state, due_at)
VALUES (?, ?, ?, ?, ?, 'queued', ?)
ON CONFLICT (campaign_id, address_key) DO NOTHING

-- name: ready_new_messages
-- Ids only grow and there is one writer at a time: what is above :after was inserted by this transaction.
INSERT INTO ready (lane_id, retry, due_at, message_id)
SELECT lane_id, 0, due_at, id FROM message WHERE id > :after

-- name: tally_new_messages
INSERT INTO tally (lane_id, state, count)
SELECT lane_id, state, count(*) FROM message WHERE id > :after GROUP BY lane_id, state
ON CONFLICT (lane_id, state) DO UPDATE SET count = tally.count + excluded.count

-- name: repeated_in_load
-- Of these addresses, how many stood in this very load before this transaction. CROSS keeps SQLite to this order: by
-- itself it goes through the whole campaign and looks for each of its messages in the list.
SELECT count(*) FROM json_each(:keys) AS key
CROSS JOIN message ON message.campaign_id = :campaign AND message.address_key = key.value AND message.id <= :after
CROSS JOIN lane ON lane.id = message.lane_id AND lane.load_id = :load

-- name: delete_empty_lanes
-- Every address stood there already: the lane was made for nothing.
DELETE FROM lane WHERE campaign_id = :campaign AND load_id = :load AND NOT EXISTS (SELECT 1 FROM tally WHERE lane_id = lane.id)

-- name: delete_load
DELETE FROM load WHERE id = :load

-- name: release_lanes
UPDATE lane
SET state = 'open', pass = coalesce((SELECT min(pass) FROM lane WHERE state = 'open'), 0)
WHERE campaign_id = :campaign AND load_id = :load

-- name: messages_of_load
SELECT message.id FROM message
WHERE message.id > max(:after, (SELECT first_message_id FROM load WHERE id = :load) - 1)
  AND message.lane_id IN (SELECT id FROM lane WHERE campaign_id = :campaign AND load_id = :load)
ORDER BY message.id LIMIT :limit

-- name: delete_ready_of_messages
DELETE FROM ready WHERE (lane_id, retry, due_at, message_id) IN (
    SELECT lane_id, attempts > 0, due_at, id FROM message
    WHERE id IN (SELECT value FROM json_each(:ids)) AND due_at IS NOT NULL)

-- name: delete_messages
DELETE FROM message WHERE id IN (SELECT value FROM json_each(:ids))

-- name: delete_lanes_of_load
DELETE FROM lane WHERE campaign_id = :campaign AND load_id = :load

-- name: delete_campaign
DELETE FROM campaign WHERE id = :campaign

-- name: delete_unused_attachments
DELETE FROM attachment WHERE NOT EXISTS (SELECT 1 FROM content_attachment WHERE content_attachment.digest = attachment.digest)
