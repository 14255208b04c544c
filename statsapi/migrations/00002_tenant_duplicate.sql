-- The duplicates of one tenant of many: without this, those of all tenants are read for them.

-- +goose Up

CREATE INDEX image_tenant_duplicate ON image (tenant, uploaded_at DESC, image_id DESC)
    WHERE state IN ('analysed', 'rejected') AND duplicate;
