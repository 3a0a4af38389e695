-- What the showing commands read. None of these looks at every message of the database.

-- name: status_campaigns
SELECT campaign.id, campaign.name, campaign.kind, campaign.state, campaign.reason, campaign.created_at, campaign.started_at,
       campaign.finished_at, campaign.start_at, campaign.expires_at, campaign.priority, campaign.version, campaign.on_uncertain
FROM campaign WHERE :name IS NULL OR campaign.name = :name ORDER BY campaign.id

-- name: status_tallies
SELECT lane.campaign_id, tally.state, sum(tally.count) FROM lane JOIN tally ON tally.lane_id = lane.id
WHERE :campaign IS NULL OR lane.campaign_id = :campaign
GROUP BY lane.campaign_id, tally.state

-- name: status_campaign_traffic
SELECT campaign_id, sum(ended) FROM campaign_traffic WHERE at >= :since GROUP BY campaign_id

-- name: status_relay_traffic
SELECT relay, sum(CASE WHEN at >= :recent THEN sent ELSE 0 END), sum(sent), sum(claimed) FROM relay_traffic WHERE at >= :since GROUP BY relay

-- name: status_relays
SELECT relay_state.relay, relay_state.state, relay_state.reason, relay_state.paused_until, relay_state.connections
FROM relay_state JOIN worker ON worker.id = relay_state.worker_id AND worker.state = 'live'

-- name: list_messages
SELECT message.id, campaign.name, message.address, message.state, message.due_at, message.attempts, attempt.code,
       attempt.enhanced, attempt.category, coalesce(nullif(message.reason, ''), attempt.text, ''), attempt.relay
FROM message JOIN campaign ON campaign.id = message.campaign_id
LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE (:after IS NULL OR message.id < :after)
  AND (:campaign IS NULL OR message.campaign_id = :campaign)
  AND (:states IS NULL OR message.state IN (SELECT value FROM json_each(:states)))
  AND (:category IS NULL OR attempt.category = :category)
  AND (:relay IS NULL OR attempt.relay = :relay)
  AND (:code IS NULL OR attempt.code = :code)
  AND (:since IS NULL OR attempt.started_at >= :since)
ORDER BY message.id DESC LIMIT :limit

-- name: list_troubled_messages
-- Where what is asked for leaves out all that is sent, and all that has not been tried: the same, from the index of these.
SELECT message.id, campaign.name, message.address, message.state, message.due_at, message.attempts, attempt.code,
       attempt.enhanced, attempt.category, coalesce(nullif(message.reason, ''), attempt.text, ''), attempt.relay
FROM message INDEXED BY message_troubled JOIN campaign ON campaign.id = message.campaign_id
LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE (message.state NOT IN ('queued', 'sending', 'sent') OR (message.attempts > 0 AND message.state <> 'sent'))
  AND (:after IS NULL OR message.id < :after)
  AND (:campaign IS NULL OR message.campaign_id = :campaign)
  AND (:states IS NULL OR message.state IN (SELECT value FROM json_each(:states)))
  AND (:category IS NULL OR attempt.category = :category)
  AND (:relay IS NULL OR attempt.relay = :relay)
  AND (:code IS NULL OR attempt.code = :code)
  AND (:since IS NULL OR attempt.started_at >= :since)
ORDER BY message.id DESC LIMIT :limit

-- name: list_messages_of_address
-- By campaign, since (campaign, address) is the index there is. CROSS keeps SQLite from reading all messages in order of
-- their ids instead.
SELECT message.id, campaign.name, message.address, message.state, message.due_at, message.attempts, attempt.code,
       attempt.enhanced, attempt.category, coalesce(nullif(message.reason, ''), attempt.text, ''), attempt.relay
FROM campaign CROSS JOIN message ON message.campaign_id = campaign.id AND message.address_key = :key
LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE (:after IS NULL OR message.id < :after)
  AND (:campaign IS NULL OR message.campaign_id = :campaign)
  AND (:states IS NULL OR message.state IN (SELECT value FROM json_each(:states)))
  AND (:category IS NULL OR attempt.category = :category)
  AND (:relay IS NULL OR attempt.relay = :relay)
  AND (:code IS NULL OR attempt.code = :code)
  AND (:since IS NULL OR attempt.started_at >= :since)
ORDER BY message.id DESC LIMIT :limit

-- name: show_message
SELECT message.id, campaign.name, message.address, message.state, message.due_at, message.attempts, attempt.code,
       attempt.enhanced, attempt.category, coalesce(nullif(message.reason, ''), attempt.text, ''), attempt.relay,
       campaign.id, coalesce(message.version, campaign.version), message.in_doubt, message.fields, message.reason
FROM message JOIN campaign ON campaign.id = message.campaign_id
LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE message.id = :message

-- name: attempts_of
SELECT n, started_at, relay, phase, code, enhanced, text, category, duration_us, tls, note FROM attempt
WHERE message_id = :message ORDER BY n

-- name: export_page
SELECT message.address_key, message.id, message.address, message.state, attempt.code, attempt.enhanced, attempt.category,
       coalesce(nullif(attempt.text, ''), message.reason), attempt.relay, message.attempts,
       (SELECT started_at FROM attempt WHERE message_id = message.id AND n = 1), attempt.started_at, message.fields, message.reason
FROM message LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE message.campaign_id = :campaign AND message.address_key > :after
ORDER BY message.address_key LIMIT :limit

-- name: first_recipient
SELECT address, fields FROM message WHERE campaign_id = :campaign AND (:key IS NULL OR address_key = :key) ORDER BY id LIMIT 1

-- name: row_counts
SELECT 'campaigns', count(*) FROM campaign
UNION ALL SELECT 'messages', coalesce(sum(count), 0) FROM tally WHERE state <> 'in_doubt'
UNION ALL SELECT 'waiting', count(*) FROM ready
UNION ALL SELECT 'in_hand', count(*) FROM claim
UNION ALL SELECT 'attempts', count(*) FROM attempt
UNION ALL SELECT 'lanes', count(*) FROM lane
UNION ALL SELECT 'attachments', count(*) FROM attachment
UNION ALL SELECT 'loads', count(*) FROM load
UNION ALL SELECT 'live_workers', count(*) FROM worker WHERE state = 'live'
UNION ALL SELECT 'past_workers', count(*) FROM worker WHERE state <> 'live'

-- name: oldest_due
-- Of lanes that are open: what is paused waits for the operator.
SELECT min(coalesce((SELECT min(due_at) FROM ready WHERE lane_id = lane.id AND retry = 0), 9223372036854775807),
           coalesce((SELECT min(due_at) FROM ready WHERE lane_id = lane.id AND retry = 1), 9223372036854775807)) AS due_at
FROM lane WHERE state = 'open'
  AND EXISTS (SELECT 1 FROM ready WHERE lane_id = lane.id) ORDER BY due_at LIMIT 1
