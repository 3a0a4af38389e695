-- Campaigns: finding them, and what an operator does to them.

-- name: campaign_by_name
SELECT id, name, kind, state, version, settings, route_id, priority, on_uncertain, start_at, expires_at, reason, created_at,
       started_at, finished_at
FROM campaign WHERE name = :name

-- name: campaign_names
SELECT name FROM campaign WHERE kind = 'campaign' ORDER BY id DESC LIMIT :limit

-- name: content_of
SELECT campaign.name, campaign.kind, content.digest, content.body, campaign.settings, route.author, route.envelope_from,
       route.relays
FROM content JOIN campaign ON campaign.id = content.campaign_id JOIN route ON route.id = campaign.route_id
WHERE content.campaign_id = :campaign AND content.version = :version

-- name: attachments_of
SELECT attachment.digest, attachment.data FROM content_attachment JOIN attachment USING (digest)
WHERE campaign_id = :campaign AND version = :version

-- name: set_campaign_state
UPDATE campaign SET state = :state, reason = :reason WHERE id = :campaign

-- name: end_campaign
UPDATE campaign SET state = :state, reason = :reason, finished_at = :now WHERE id = :campaign

-- name: reopen_campaign
UPDATE campaign SET state = :state, reason = '', finished_at = NULL WHERE id = :campaign

-- name: close_lanes
UPDATE lane SET state = 'closed', wake_at = NULL WHERE campaign_id = :campaign AND state <> 'closed'

-- name: open_lanes
-- Not those of a load in progress. Their place in the line: see wake_lanes.
UPDATE lane
SET state = 'open', wake_at = NULL,
    pass = min(max(pass, coalesce((SELECT min(pass) FROM lane WHERE state = 'open'), 0)),
               coalesce((SELECT min(pass) FROM lane WHERE state = 'open'), 0) + :join / weight)
WHERE campaign_id = :campaign AND state <> 'open'
  AND load_id NOT IN (SELECT id FROM load WHERE campaign_id = :campaign)

-- name: update_campaign
UPDATE campaign
SET version = :version, settings = :settings, route_id = :route_id, priority = :priority, on_uncertain = :on_uncertain,
    start_at = :start_at, expires_at = :expires_at
WHERE id = :campaign

-- name: update_lanes
UPDATE lane SET route_id = :route_id, weight = :weight WHERE campaign_id = :campaign

-- name: due_campaigns
SELECT id, name FROM campaign WHERE state = 'scheduled' AND start_at <= :now

-- name: closing_campaigns
-- Whose waiting messages are to be ended: being cancelled, or past their deadline. All, or campaign :campaign.
SELECT id, state FROM campaign
WHERE (:campaign IS NULL OR id = :campaign)
  AND (state = 'cancelling'
       OR (state IN ('running', 'scheduled', 'paused') AND expires_at <= :now
           AND EXISTS (SELECT 1 FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id
                       AND lane.load_id NOT IN (SELECT load.id FROM load WHERE load.campaign_id = campaign.id))))

-- name: waiting_messages
SELECT message.id, message.lane_id, message.state, message.in_doubt FROM lane JOIN ready ON ready.lane_id = lane.id
JOIN message ON message.id = ready.message_id
WHERE lane.campaign_id = :campaign AND lane.load_id NOT IN (SELECT id FROM load WHERE campaign_id = :campaign)
LIMIT :limit

-- name: count_waiting
SELECT count(*) FROM lane JOIN ready ON ready.lane_id = lane.id
WHERE lane.campaign_id = :campaign AND lane.load_id NOT IN (SELECT id FROM load WHERE campaign_id = :campaign)

-- name: messages_by_address
SELECT message.id, message.lane_id, message.state, message.in_doubt, message.address_key, message.due_at
FROM json_each(:keys) AS key CROSS JOIN message ON message.campaign_id = :campaign AND message.address_key = key.value

-- name: end_waiting
-- Cancelled, or past the deadline. A message in doubt stays uncertain: nobody knows whether the relay took it.
UPDATE message SET state = CASE WHEN in_doubt THEN 'uncertain' ELSE :state END, due_at = NULL, reason = :reason
WHERE id IN (SELECT value FROM json_each(:ids))

-- name: sending_of
SELECT coalesce(sum(count), 0) FROM tally JOIN lane ON lane.id = tally.lane_id
WHERE lane.campaign_id = :campaign AND tally.state = 'sending'

-- name: finish_if_done
-- What is being loaded does not count: its release makes the campaign running again, and a load that was killed must not
-- keep it running for ever.
UPDATE campaign SET state = 'finished', finished_at = :now, reason = ''
WHERE id = :campaign AND state = 'running'
  AND NOT EXISTS (SELECT 1 FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id
                  AND lane.load_id NOT IN (SELECT load.id FROM load WHERE load.campaign_id = campaign.id))
  AND NOT EXISTS (SELECT 1 FROM lane JOIN tally ON tally.lane_id = lane.id AND tally.state = 'sending' AND tally.count > 0
                  WHERE lane.campaign_id = campaign.id)

-- name: messages_after
-- A page of a campaign in order of address: the only order it has an index for.
SELECT message.id, message.state, message.due_at, message.address_key, attempt.category
FROM message LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE message.campaign_id = :campaign AND message.address_key > :after
ORDER BY message.address_key LIMIT :limit

-- name: requeue
-- The operator's retry: as good as new, but what was in doubt stays so.
UPDATE message
SET state = CASE WHEN in_doubt THEN 'uncertain' ELSE 'queued' END, due_at = :now, refusals = 0, losses = 0, deaths = 0,
    first_refused_at = NULL, reason = ''
WHERE id IN (SELECT value FROM json_each(:ids)) AND campaign_id = :campaign AND state = :state AND due_at IS NULL
RETURNING id, lane_id, state

-- name: page_of_campaign
SELECT id, lane_id, state, in_doubt FROM message WHERE campaign_id = :campaign ORDER BY address_key LIMIT :limit
