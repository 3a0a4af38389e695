-- name: any_table
SELECT 1 FROM sqlite_schema LIMIT 1

-- name: user_version
PRAGMA user_version

-- name: insert_store
INSERT INTO store (id, store_id, created_at) VALUES (1, :store_id, :now)

-- name: store_id
SELECT store_id FROM store
