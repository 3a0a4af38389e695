-- What one exchange between a worker and the store does, in the order in which it does it.

-- name: worker_turn
-- The worker's row as the last exchange left it; no row: it was declared dead, or the database has gone back in time.
SELECT exchange_n, claim_n, (SELECT max(id) FROM route) FROM worker WHERE id = :worker AND state = 'live'

-- name: routes
SELECT id, author, envelope_from, relays FROM route WHERE id > :after ORDER BY id

-- name: close_claims
-- Only an outcome whose claim is still open counts. Deleting is the test, so applying twice is harmless.
DELETE FROM claim WHERE worker_id = :worker AND n IN (SELECT value FROM json_each(:claims))
RETURNING n, relay, claimed_at

-- name: insert_attempts
INSERT INTO attempt (message_id, n, started_at, duration_us, relay, phase, code, enhanced, text, category, tls, note, worker_id, claim)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
       json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
       json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
       :worker, json_extract(value, '$[12]')
FROM json_each(:rows)

-- name: apply_outcomes
UPDATE message
SET state = o.state, due_at = o.due_at, reason = o.reason, refusals = o.refusals, losses = o.losses,
    first_refused_at = o.first_refused_at, in_doubt = o.in_doubt, attempts = attempts + o.attempted,
    version = CASE WHEN o.attempted THEN o.version ELSE message.version END
FROM (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS state, json_extract(value, '$[2]') AS due_at,
           json_extract(value, '$[3]') AS reason, json_extract(value, '$[4]') AS refusals,
           json_extract(value, '$[5]') AS losses, json_extract(value, '$[6]') AS first_refused_at,
           json_extract(value, '$[7]') AS in_doubt, json_extract(value, '$[8]') AS attempted,
           json_extract(value, '$[9]') AS version
    FROM json_each(:rows)
) AS o
WHERE message.id = o.id

-- name: insert_ready
-- After apply_outcomes: due_at and attempts are those of the row.
INSERT INTO ready (lane_id, retry, due_at, message_id)
SELECT lane_id, attempts > 0, due_at, id FROM message WHERE id IN (SELECT value FROM json_each(:ids))

-- name: wake_waiting
-- A lane without work, or waiting for later, now waits for the earliest of what came back.
UPDATE lane
SET state = 'waiting', wake_at = min(coalesce(lane.wake_at, back.due_at), back.due_at)
FROM (
    SELECT json_extract(value, '$[0]') AS lane_id, json_extract(value, '$[1]') AS due_at FROM json_each(:rows)
) AS back
WHERE lane.id = back.lane_id AND lane.state IN ('idle', 'waiting')

-- name: wake_lanes
-- Those whose time has come take their turn from now on: a lane that slept has saved up no turns, and what it was given
-- while it had the line for itself is not held against it either. (SQLite finds the first in the line once, before any
-- row is changed.)
UPDATE lane
SET state = 'open', wake_at = NULL,
    pass = min(max(pass, coalesce((SELECT min(pass) FROM lane WHERE state = 'open'), 0)),
               coalesce((SELECT min(pass) FROM lane WHERE state = 'open'), 0) + :join / weight)
WHERE state = 'waiting' AND wake_at <= :now

-- name: pick_lanes
SELECT id, weight FROM lane
WHERE state = 'open' AND route_id IN (SELECT value FROM json_each(:routes)) AND id NOT IN (SELECT value FROM json_each(:exhausted))
ORDER BY pass, id
LIMIT :lanes

-- name: pick_lanes_of
-- For a command that sends its own campaign, which is paused, and so closed to everybody else.
SELECT lane.id, lane.weight FROM lane JOIN campaign ON campaign.id = lane.campaign_id
WHERE lane.campaign_id = :campaign AND campaign.state IN ('running', 'paused')
  AND lane.load_id NOT IN (SELECT id FROM load WHERE campaign_id = :campaign)
  AND lane.route_id IN (SELECT value FROM json_each(:routes)) AND lane.id NOT IN (SELECT value FROM json_each(:exhausted))
ORDER BY lane.pass, lane.id
LIMIT :lanes

-- name: pick_messages
-- For each lane the first due of its new messages and of its retries: two JSON arrays of [message, due].
SELECT lane.value,
       (SELECT json_group_array(json_array(message_id, due_at)) FROM (
            SELECT message_id, due_at FROM ready
            WHERE lane_id = lane.value AND retry = 0 AND due_at <= :now ORDER BY due_at, message_id LIMIT :share)),
       (SELECT json_group_array(json_array(message_id, due_at)) FROM (
            SELECT message_id, due_at FROM ready
            WHERE lane_id = lane.value AND retry = 1 AND due_at <= :now ORDER BY due_at, message_id LIMIT :share))
FROM json_each(:lanes) AS lane

-- name: delete_ready
DELETE FROM ready WHERE (lane_id, retry, due_at, message_id) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
    FROM json_each(:rows))

-- name: count_claims
SELECT relay, count(*) FROM claim WHERE worker_id = :worker AND n > :after GROUP BY relay

-- name: insert_claims
INSERT INTO claim (worker_id, n, message_id, lane_id, relay, waited_as, claimed_at)
SELECT :worker, json_extract(pick.value, '$[0]'), message.id, message.lane_id, :relay, message.state, :now
FROM json_each(:rows) AS pick JOIN message ON message.id = json_extract(pick.value, '$[1]')

-- name: mark_sending
UPDATE message SET state = 'sending' WHERE id IN (SELECT value FROM json_each(:ids))

-- name: turn_lanes
-- The lanes that were visited move back in the line by what they were given; one with nothing more that is due waits
-- for its next message, or has none.
UPDATE lane
SET pass = lane.pass + visit.advance,
    state = CASE WHEN lane.state <> 'open' OR NOT visit.exhausted THEN lane.state WHEN visit.due_at IS NULL THEN 'idle' ELSE 'waiting' END,
    wake_at = CASE WHEN lane.state <> 'open' OR NOT visit.exhausted THEN lane.wake_at ELSE visit.due_at END
FROM (
    SELECT json_extract(value, '$[0]') AS lane_id, json_extract(value, '$[1]') AS advance,
           json_extract(value, '$[2]') AS exhausted,
           (SELECT min(due_at) FROM (
                SELECT (SELECT min(due_at) FROM ready WHERE lane_id = json_extract(visit.value, '$[0]') AND retry = 0) AS due_at
                UNION ALL
                SELECT (SELECT min(due_at) FROM ready WHERE lane_id = json_extract(visit.value, '$[0]') AND retry = 1))) AS due_at
    FROM json_each(:rows) AS visit
) AS visit
WHERE lane.id = visit.lane_id

-- name: claimed_messages
-- What this worker has claimed after claim number :after. Also hands out what an unanswered exchange had claimed.
SELECT claim.n, message.id, message.campaign_id, message.lane_id, claim.relay, coalesce(message.version, campaign.version),
       message.address, message.fields, message.attempts, message.refusals, message.losses, message.first_refused_at,
       message.in_doubt, claim.waited_as, message.due_at, campaign.expires_at, campaign.on_uncertain,
       campaign.started_at IS NULL, claim.claimed_at
FROM claim JOIN message ON message.id = claim.message_id JOIN campaign ON campaign.id = message.campaign_id
WHERE claim.worker_id = :worker AND claim.n > :after
ORDER BY claim.n

-- name: start_campaigns
UPDATE campaign SET started_at = :now WHERE id IN (SELECT value FROM json_each(:ids)) AND started_at IS NULL

-- name: add_tally
-- Returns the lanes in which nothing is being sent any more: only their campaigns can have ended.
INSERT INTO tally (lane_id, state, count)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(:rows) WHERE true
ON CONFLICT (lane_id, state) DO UPDATE SET count = tally.count + excluded.count
RETURNING lane_id, state, count

-- name: finish_campaigns
-- The same as finish_if_done, for the campaigns of :lanes.
UPDATE campaign SET state = 'finished', finished_at = :now, reason = ''
WHERE state = 'running'
  AND id IN (SELECT campaign_id FROM lane WHERE id IN (SELECT value FROM json_each(:lanes)))
  AND NOT EXISTS (SELECT 1 FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id
                  AND lane.load_id NOT IN (SELECT load.id FROM load WHERE load.campaign_id = campaign.id))
  AND NOT EXISTS (SELECT 1 FROM lane JOIN tally ON tally.lane_id = lane.id AND tally.state = 'sending' AND tally.count > 0
                  WHERE lane.campaign_id = campaign.id)
RETURNING id

-- name: add_campaign_traffic
INSERT INTO campaign_traffic (at, campaign_id, ended)
SELECT :at, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:rows) WHERE true
ON CONFLICT (at, campaign_id) DO UPDATE SET ended = ended + excluded.ended

-- name: add_relay_traffic
INSERT INTO relay_traffic (relay, at, claimed, sent)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
FROM json_each(:rows) WHERE true
ON CONFLICT (relay, at) DO UPDATE SET claimed = claimed + excluded.claimed, sent = sent + excluded.sent

-- name: relay_claimed_since
SELECT coalesce(sum(claimed), 0) FROM relay_traffic WHERE relay = :relay AND at >= :since AND at < :until

-- name: oldest_relay_traffic
SELECT min(at) FROM relay_traffic WHERE relay = :relay AND at >= :since AND at < :until AND claimed > 0

-- name: relay_next_at
SELECT next_at FROM relay_pace WHERE relay = :relay

-- name: set_relay_next_at
INSERT INTO relay_pace (relay, next_at) VALUES (:relay, :next_at) ON CONFLICT (relay) DO UPDATE SET next_at = excluded.next_at

-- name: withdrawn_campaigns
-- Campaign :only is sent by the very command that asks, which goes on while it is paused for everybody else.
SELECT id FROM campaign
WHERE id IN (SELECT value FROM json_each(:ids)) AND state <> 'running' AND (id IS NOT :only OR state <> 'paused')

-- name: next_wake
SELECT min(wake_at) FROM lane WHERE state = 'waiting'

-- name: next_due_after
SELECT min(ready.due_at) FROM lane JOIN ready ON ready.lane_id = lane.id AND ready.retry IN (0, 1) AND ready.due_at > :now
WHERE lane.campaign_id = :campaign AND lane.load_id NOT IN (SELECT id FROM load WHERE campaign_id = :campaign)

-- name: end_turn
UPDATE worker SET exchange_n = :n, claim_n = :claim_n, heartbeat_at = :now, lease_until = :lease_until WHERE id = :worker
