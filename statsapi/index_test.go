package statsapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/table"
)

// TestATenantsDuplicatesHaveAnIndex asks for those of a tenant without any, beside others that have many.
func TestATenantsDuplicatesHaveAnIndex(t *testing.T) {
	t.Parallel()
	i, _, conn := loaded(t)
	exec(t, conn, "SET search_path = darkroom")
	exec(t, conn, "ALTER TABLE image DISABLE TRIGGER ALL")
	exec(t, conn, `INSERT INTO image (image_id, tenant, state, code, detail, sha256, bytes, media_type, filename, format,
	width, height, frames, orientation, camera, taken_at, uploaded_at, version, gone, duplicate)
SELECT n, 'tenant' || n % 20, 'analysed', '', '', n, 1, '', '', 'jpeg',
	1, 1, 1, 1, '', '', 1767225600000000 + n, 1, false, n % 20 > 0 FROM generate_series(1, 20000) n`)
	exec(t, conn, "ANALYZE image")
	rows, err := conn.Query(context.Background(), `EXPLAIN SELECT * FROM image
WHERE state IN ('`+table.StateAnalysed+`', '`+table.StateRejected+`') AND tenant = 'tenant0' AND duplicate
ORDER BY uploaded_at DESC, image_id DESC LIMIT 101`)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(plan, "\n"), "image_tenant_duplicate") {
		t.Errorf("another plan:\n%s", strings.Join(plan, "\n"))
	}
	body := i.get(t, "/v1/images?tenant=tenant0&duplicate=true", 200, nil).Body.String()
	if !strings.HasPrefix(body, `{"images":[],`) {
		t.Error(body)
	}
}
