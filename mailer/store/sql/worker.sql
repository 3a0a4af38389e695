-- Workers: their rows, what they say of their relays, and settling what a dead one had in hand.

-- name: register_worker
INSERT INTO worker (incarnation, host, pid, boot_id, processes, slots, state, state_dir, started_at, heartbeat_at, lease_until)
VALUES (:incarnation, :host, :pid, :boot_id, :processes, :slots, 'live', :state_dir, :now, :now, :lease_until)
RETURNING id

-- name: end_worker
UPDATE worker SET state = :state WHERE id = :worker AND state = 'live'

-- name: live_workers
SELECT id, incarnation, host, pid, boot_id, processes, slots, state_dir, started_at, heartbeat_at, lease_until, exchange_n,
       (SELECT count(*) FROM claim WHERE claim.worker_id = worker.id)
FROM worker WHERE state = 'live' ORDER BY id

-- name: count_death
UPDATE message SET deaths = deaths + 1 WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id, deaths

-- name: forget_relay_states
DELETE FROM relay_state WHERE worker_id = :worker

-- name: set_relay_state
INSERT INTO relay_state (worker_id, relay, state, reason, paused_until, connections, updated_at)
VALUES (:worker, :relay, :state, :reason, :paused_until, :connections, :now)
ON CONFLICT (worker_id, relay) DO UPDATE SET state = excluded.state, reason = excluded.reason,
    paused_until = excluded.paused_until, connections = excluded.connections, updated_at = excluded.updated_at

-- name: forget_campaign_traffic
DELETE FROM campaign_traffic WHERE at < :before

-- name: forget_relay_traffic
DELETE FROM relay_traffic WHERE at < :before

-- name: work_left
-- What keeps `worker --until-empty` from ending, by campaign: messages that wait (due now, due later) and are in hand.
SELECT campaign.id, campaign.name, campaign.state, campaign.reason, campaign.route_id,
       (SELECT count(*) FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id AND ready.due_at <= :now),
       (SELECT count(*) FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id AND ready.due_at > :now),
       (SELECT coalesce(sum(count), 0) FROM lane JOIN tally ON tally.lane_id = lane.id AND tally.state = 'sending' WHERE lane.campaign_id = campaign.id),
       CASE campaign.state WHEN 'scheduled' THEN campaign.start_at ELSE
           (SELECT min(ready.due_at) FROM lane JOIN ready ON ready.lane_id = lane.id WHERE lane.campaign_id = campaign.id AND ready.due_at > :now)
       END
FROM campaign WHERE campaign.state NOT IN ('finished', 'cancelled')
