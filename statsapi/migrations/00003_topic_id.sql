-- Which topic was read: one that is made anew under the same name has another id, and offsets of its own. Null in what was
-- written before there was this column, and where Kafka gives no ids.

-- +goose Up

ALTER TABLE cdc_offset ADD COLUMN topic_id uuid;
