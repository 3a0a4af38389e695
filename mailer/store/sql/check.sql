-- The invariants. Each query returns a few of the rows that break one; an empty answer is good.

-- name: check_tally
-- The tally of every lane is the count of its messages by state.
SELECT 'lane ' || lane_id || ', ' || state, 'the tally says ' || sum(said) || ', there are ' || sum(counted)
FROM (SELECT lane_id, state, 0 AS said, count(*) AS counted FROM message GROUP BY lane_id, state
      UNION ALL SELECT lane_id, 'in_doubt', 0, sum(in_doubt) FROM message GROUP BY lane_id
      UNION ALL SELECT lane_id, state, count, 0 FROM tally)
WHERE lane_id NOT IN (SELECT lane.id FROM lane JOIN load ON load.id = lane.load_id)
GROUP BY lane_id, state HAVING sum(said) <> sum(counted) LIMIT 5

-- name: check_ready_is_waiting
-- What stands in ready waits, in the place that its row says.
SELECT 'message ' || ready.message_id, 'stands in ready but is ' || coalesce(message.state, 'missing')
FROM ready LEFT JOIN message ON message.id = ready.message_id
WHERE message.id IS NULL OR message.state NOT IN ('queued', 'deferred', 'uncertain') OR message.due_at IS NOT ready.due_at
   OR message.lane_id <> ready.lane_id OR (message.attempts > 0) <> ready.retry
LIMIT 5

-- name: check_waiting_is_ready
SELECT 'message ' || message.id, 'is ' || message.state || ' but does not stand in ready'
FROM message LEFT JOIN ready ON ready.lane_id = message.lane_id AND ready.retry = (message.attempts > 0)
     AND ready.due_at = message.due_at AND ready.message_id = message.id
WHERE ready.message_id IS NULL
  AND (message.state IN ('queued', 'deferred') OR (message.state = 'uncertain' AND message.due_at IS NOT NULL))
LIMIT 5

-- name: check_claims
-- What is in hand is sending, and the other way round.
SELECT 'message ' || claim.message_id, 'is claimed but ' || coalesce(message.state, 'missing')
FROM claim LEFT JOIN message ON message.id = claim.message_id WHERE message.state IS NOT 'sending'
UNION ALL
SELECT 'message ' || message.id, 'is sending but nobody has claimed it'
FROM message LEFT JOIN claim ON claim.message_id = message.id WHERE message.state = 'sending' AND claim.message_id IS NULL
LIMIT 5

-- name: check_claims_are_of_live_workers
SELECT 'message ' || claim.message_id, 'is claimed by worker ' || claim.worker_id || ', which is ' || worker.state
FROM claim JOIN worker ON worker.id = claim.worker_id WHERE worker.state <> 'live' LIMIT 5

-- name: check_attempts
-- Attempts are numbered 1 to n, n being what the message says.
SELECT 'message ' || message.id, 'says ' || message.attempts || ' attempts, there are ' || count(attempt.n) || ' up to number ' || coalesce(max(attempt.n), 0)
FROM message LEFT JOIN attempt ON attempt.message_id = message.id
GROUP BY message.id HAVING message.attempts <> count(attempt.n) OR message.attempts <> coalesce(max(attempt.n), 0) LIMIT 5

-- name: check_sent_was_accepted
SELECT 'message ' || message.id, 'is sent, but its last attempt ended with ' || coalesce(attempt.code, 'no reply')
FROM message LEFT JOIN attempt ON attempt.message_id = message.id AND attempt.n = message.attempts
WHERE message.state = 'sent' AND (attempt.code IS NULL OR attempt.code NOT BETWEEN 200 AND 299 OR attempt.phase <> 'end-of-data')
LIMIT 5

-- name: check_lanes
SELECT 'message ' || message.id, 'is in lane ' || message.lane_id || ', which is not of its campaign'
FROM message LEFT JOIN lane ON lane.id = message.lane_id
WHERE lane.id IS NULL OR lane.campaign_id <> message.campaign_id LIMIT 5

-- name: check_lane_states
-- Lanes are open to claims exactly while their campaign runs, and know when their next message is due.
SELECT 'lane ' || lane.id, 'is ' || lane.state || ' in a campaign that is ' || campaign.state
FROM lane JOIN campaign ON campaign.id = lane.campaign_id
WHERE (lane.state <> 'closed' AND campaign.state NOT IN ('running', 'finished'))
   OR (lane.state = 'closed' AND campaign.state = 'running' AND lane.load_id NOT IN (SELECT id FROM load))
   OR (lane.state = 'idle' AND EXISTS (SELECT 1 FROM ready WHERE ready.lane_id = lane.id))
LIMIT 5

-- name: check_finished
SELECT 'campaign ' || campaign.name, 'is ' || campaign.state || ' but messages of it still wait'
FROM campaign JOIN lane ON lane.campaign_id = campaign.id JOIN ready ON ready.lane_id = lane.id
WHERE campaign.state IN ('finished', 'cancelled') AND lane.load_id NOT IN (SELECT id FROM load) LIMIT 5

-- name: check_doubt
SELECT 'message ' || id, 'was in doubt and is ' || state || ': it must not end so'
FROM message WHERE in_doubt AND state IN ('failed', 'cancelled') LIMIT 5

-- name: integrity
PRAGMA integrity_check(5)

-- name: foreign_keys
PRAGMA foreign_key_check
