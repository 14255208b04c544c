-- The copy of the store's tables, and what is derived from it.
--
-- Names are not qualified: the session's search_path says in which schema the copy lives, which lets a rebuild fill a
-- second one and swap the two by renaming. Text is compared by its bytes (COLLATE "C"), as the store compares it.
-- Times are microseconds since 1970 UTC. "gone" marks a row that the store deleted, kept so that an older write which
-- arrives later cannot bring it back; its other columns are then empty.

-- +goose Up

CREATE TABLE image (
    image_id    text COLLATE "C" PRIMARY KEY,
    tenant      text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    code        text COLLATE "C" NOT NULL,
    detail      text COLLATE "C" NOT NULL,
    sha256      text COLLATE "C" NOT NULL,
    bytes       bigint NOT NULL,
    media_type  text COLLATE "C" NOT NULL,
    filename    text COLLATE "C" NOT NULL,
    format      text COLLATE "C" NOT NULL,
    width       bigint NOT NULL,
    height      bigint NOT NULL,
    frames      bigint NOT NULL,
    orientation bigint NOT NULL,
    camera      text COLLATE "C" NOT NULL,
    taken_at    text COLLATE "C" NOT NULL,
    uploaded_at bigint NOT NULL,
    version     bigint NOT NULL,
    gone        boolean NOT NULL,
    -- Derived: the tenant has another image of the same bytes.
    duplicate   boolean NOT NULL DEFAULT false
);

CREATE TABLE hash_band (
    tenant   text COLLATE "C" NOT NULL,
    band     text COLLATE "C" NOT NULL,
    value    text COLLATE "C" NOT NULL,
    image_id text COLLATE "C" NOT NULL,
    deleted  boolean NOT NULL,
    version  bigint NOT NULL,
    gone     boolean NOT NULL,
    PRIMARY KEY (tenant, band, value, image_id)
);

CREATE TABLE image_stats (
    tenant       text COLLATE "C" NOT NULL,
    dimension    text COLLATE "C" NOT NULL,
    day          text COLLATE "C" NOT NULL,
    window_start bigint NOT NULL,
    value        text COLLATE "C" NOT NULL,
    images       bigint NOT NULL,
    bytes        bigint NOT NULL,
    pixels       bigint NOT NULL,
    rejected     bigint NOT NULL,
    events       bigint NOT NULL,
    version      bigint NOT NULL,
    gone         boolean NOT NULL,
    -- The day follows from window_start, so it comes last: the rest serves a range of time.
    PRIMARY KEY (tenant, dimension, window_start, value, day)
);

CREATE TABLE progress (
    pipeline    text COLLATE "C" PRIMARY KEY,
    complete_to bigint NOT NULL,
    version     bigint NOT NULL,
    gone        boolean NOT NULL
);

-- How many live images a bucket of equal hash values has. Maintained from hash_band.
CREATE TABLE bucket (
    tenant  text COLLATE "C" NOT NULL,
    band    text COLLATE "C" NOT NULL,
    value   text COLLATE "C" NOT NULL,
    members bigint NOT NULL,
    PRIMARY KEY (tenant, band, value)
);

-- The summary of each tenant. Maintained from image and bucket. Sums are numeric, so that no row can overflow them.
CREATE TABLE totals (
    tenant     text COLLATE "C" PRIMARY KEY,
    images     bigint NOT NULL DEFAULT 0,
    bytes      numeric NOT NULL DEFAULT 0,
    pixels     numeric NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    same_bytes bigint NOT NULL DEFAULT 0
);

-- The event time up to which the copy is complete, and the greatest to which a pipeline has said that the tables are:
-- one row.
CREATE TABLE freshness (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    as_of    bigint,
    promised bigint
);
INSERT INTO freshness DEFAULT VALUES;

-- Where to read on. Written in the transaction of the rows that were read.
CREATE TABLE cdc_offset (
    topic       text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Records that could not be applied.
CREATE TABLE cdc_rejected (
    topic         text COLLATE "C" NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    error         text NOT NULL,
    key           bytea,
    value         bytea,
    rejected_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, record_offset)
);

CREATE INDEX image_recent ON image (uploaded_at DESC, image_id DESC) WHERE state IN ('analysed', 'rejected');
CREATE INDEX image_tenant ON image (tenant, uploaded_at DESC, image_id DESC) WHERE state IN ('analysed', 'rejected');
CREATE INDEX image_format ON image (format, uploaded_at DESC, image_id DESC) WHERE state IN ('analysed', 'rejected');
CREATE INDEX image_camera ON image (camera, uploaded_at DESC, image_id DESC) WHERE state IN ('analysed', 'rejected');
CREATE INDEX image_width ON image (width) WHERE state IN ('analysed', 'rejected');
CREATE INDEX image_duplicate ON image (uploaded_at DESC, image_id DESC)
    WHERE state IN ('analysed', 'rejected') AND duplicate;
CREATE INDEX image_single ON image (uploaded_at DESC, image_id DESC)
    WHERE state IN ('analysed', 'rejected') AND NOT duplicate;
CREATE INDEX image_sha256 ON image (tenant, sha256, uploaded_at DESC, image_id DESC) WHERE state = 'analysed';
CREATE INDEX image_stats_time ON image_stats (dimension, window_start);

-- Whether an image is a live member of the bucket of its bytes and has company there.
-- +goose StatementBegin
CREATE FUNCTION has_twin(of_tenant text, of_sha256 text, of_image text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM hash_band h JOIN bucket b USING (tenant, band, value)
        WHERE h.tenant = of_tenant AND h.band = 'sha256' AND h.value = of_sha256 AND h.image_id = of_image
            AND NOT h.deleted AND NOT h.gone AND b.members > 1);
END $$;
-- +goose StatementEnd

-- Sets the flag of images whose buckets changed.
-- +goose StatementBegin
CREATE FUNCTION refresh_duplicates(images text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE image i SET duplicate = NOT i.duplicate
    WHERE i.image_id = ANY (images)
        AND i.duplicate <> (i.state = 'analysed' AND has_twin(i.tenant, i.sha256, i.image_id));
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION image_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.duplicate := NEW.state = 'analysed' AND has_twin(NEW.tenant, NEW.sha256, NEW.image_id);
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION image_after() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was image[];
    now_is image[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT array_agg(o) INTO was FROM old_rows o WHERE o.state IN ('analysed', 'rejected');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT array_agg(n) INTO now_is FROM new_rows n WHERE n.state IN ('analysed', 'rejected');
    END IF;
    IF was IS NULL AND now_is IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO totals AS t (tenant, images, bytes, pixels, rejected)
    SELECT tenant, images, bytes, pixels, rejected FROM (
        SELECT c.tenant,
            coalesce(sum(c.n) FILTER (WHERE c.state = 'analysed'), 0) AS images,
            coalesce(sum(c.n * c.bytes) FILTER (WHERE c.state = 'analysed'), 0) AS bytes,
            coalesce(sum(c.n * c.pixels) FILTER (WHERE c.state = 'analysed'), 0) AS pixels,
            coalesce(sum(c.n) FILTER (WHERE c.state = 'rejected'), 0) AS rejected
        FROM (
            SELECT 1 AS n, tenant, state, bytes::numeric, width::numeric * height AS pixels FROM unnest(now_is)
            UNION ALL
            SELECT -1, tenant, state, bytes::numeric, width::numeric * height FROM unnest(was)
        ) c GROUP BY c.tenant
    ) d
    WHERE (images, bytes, pixels, rejected) <> (0, 0, 0, 0)
    ON CONFLICT (tenant) DO UPDATE SET
        images = t.images + excluded.images, bytes = t.bytes + excluded.bytes,
        pixels = t.pixels + excluded.pixels, rejected = t.rejected + excluded.rejected;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION hash_band_after() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was hash_band[];
    now_is hash_band[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT array_agg(o) INTO was FROM old_rows o WHERE NOT o.deleted AND NOT o.gone;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT array_agg(n) INTO now_is FROM new_rows n WHERE NOT n.deleted AND NOT n.gone;
    END IF;
    IF was IS NULL AND now_is IS NULL THEN
        RETURN NULL;
    END IF;
    -- A bucket that shrinks is there already, so no row of a negative number is ever inserted.
    INSERT INTO bucket AS b (tenant, band, value, members)
    SELECT tenant, band, value, sum(n) FROM (
        SELECT 1 AS n, tenant, band, value FROM unnest(now_is)
        UNION ALL
        SELECT -1, tenant, band, value FROM unnest(was)
    ) c GROUP BY tenant, band, value HAVING sum(n) <> 0
    ON CONFLICT (tenant, band, value) DO UPDATE SET members = b.members + excluded.members;

    PERFORM refresh_duplicates(array_agg(c.image_id)) FROM (
        SELECT image_id FROM unnest(now_is) WHERE band = 'sha256'
        UNION
        SELECT image_id FROM unnest(was) WHERE band = 'sha256'
    ) c;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION bucket_after() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was bucket[];
    now_is bucket[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT array_agg(o) INTO was FROM old_rows o WHERE o.band = 'sha256';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT array_agg(n) INTO now_is FROM new_rows n WHERE n.band = 'sha256';
    END IF;
    IF was IS NULL AND now_is IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO totals AS t (tenant, same_bytes)
    SELECT tenant, sum(n) FROM (
        SELECT tenant, greatest(members - 1, 0) AS n FROM unnest(now_is)
        UNION ALL
        SELECT tenant, -greatest(members - 1, 0) FROM unnest(was)
    ) c GROUP BY tenant HAVING sum(n) <> 0
    ON CONFLICT (tenant) DO UPDATE SET same_bytes = t.same_bytes + excluded.same_bytes;

    -- A bucket that passes between one member and two changes the flag of the member that did not change itself.
    PERFORM refresh_duplicates(array_agg(h.image_id)) FROM (
        SELECT tenant, band, value FROM (
            SELECT tenant, band, value, members > 1 AS many FROM unnest(now_is)
            UNION ALL
            SELECT tenant, band, value, members > 1 FROM unnest(was)
        ) s GROUP BY tenant, band, value HAVING bool_or(many) AND (count(*) = 1 OR NOT bool_and(many))
    ) c JOIN hash_band h USING (tenant, band, value) WHERE NOT h.deleted AND NOT h.gone;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON image FOR EACH ROW EXECUTE FUNCTION image_before();

CREATE TRIGGER after_insert AFTER INSERT ON image REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION image_after();
CREATE TRIGGER after_update AFTER UPDATE ON image REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION image_after();
CREATE TRIGGER after_delete AFTER DELETE ON image REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION image_after();

CREATE TRIGGER after_insert AFTER INSERT ON hash_band REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION hash_band_after();
CREATE TRIGGER after_update AFTER UPDATE ON hash_band REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION hash_band_after();
CREATE TRIGGER after_delete AFTER DELETE ON hash_band REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION hash_band_after();

CREATE TRIGGER after_insert AFTER INSERT ON bucket REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION bucket_after();
CREATE TRIGGER after_update AFTER UPDATE ON bucket REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION bucket_after();
CREATE TRIGGER after_delete AFTER DELETE ON bucket REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION bucket_after();

-- +goose Down

DROP TABLE image, hash_band, image_stats, progress, bucket, totals, freshness, cdc_offset, cdc_rejected;
DROP FUNCTION image_before, image_after, hash_band_after, bucket_after, refresh_duplicates, has_twin;
