package statsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"darkroom/internal/table"
)

var (
	someText   = rapid.SampledFrom([]string{"", "a", "Ä", "with \x00 in it", `quo"te\`, "z"})
	someTenant = rapid.SampledFrom([]string{"acme", "birch"})
	someID     = rapid.SampledFrom([]string{"i1", "i2", "i3", "i4"})
	someHash   = rapid.SampledFrom([]string{"aa", "bb"})
	someNumber = rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64())
	someTime   = rapid.Int64Range(1, 3) // few, so that versions often are equal
	someFlag   = rapid.SampledFrom([]bool{false, false, true, false})
)

func someBand(t *rapid.T) table.Mutation {
	return maybeDeleted(t, table.HashBands.Mutation(table.HashBand{
		Tenant: someTenant.Draw(t, "tenant"), Value: someHash.Draw(t, "value"), ImageID: someID.Draw(t, "id"),
		Band:    rapid.SampledFrom([]string{"sha256", "sha256", "sha256", "look"}).Draw(t, "band"),
		Deleted: someFlag.Draw(t, "deleted"), Version: someTime.Draw(t, "version"),
	}))
}

func someStats(t *rapid.T) table.Mutation {
	return maybeDeleted(t, table.AllImageStats.Mutation(table.ImageStats{
		Tenant: someTenant.Draw(t, "tenant"), Dimension: "all", Day: "1970-01-01",
		WindowStart: 60e6 * someTime.Draw(t, "window"), Value: someText.Draw(t, "value"),
		Images: someNumber.Draw(t, "images"), Bytes: someNumber.Draw(t, "bytes"), Version: someTime.Draw(t, "version"),
	}))
}

func someProgress(t *rapid.T) table.Mutation {
	at := someTime.Draw(t, "complete to")
	return maybeDeleted(t, table.Progresses.Mutation(table.Progress{
		Pipeline: rapid.SampledFrom([]string{"live", "other"}).Draw(t, "pipeline"), CompleteTo: at, Version: at,
	}))
}

// someChanges are writes to all tables, enough of each that they meet.
func someChanges(t *rapid.T) (muts []table.Mutation) {
	for _, g := range []struct {
		one   func(*rapid.T) table.Mutation
		least int
	}{{someImage, 10}, {someBand, 20}, {someStats, 2}, {someProgress, 1}} {
		muts = append(muts, rapid.SliceOfN(rapid.Custom(g.one), g.least, 2*g.least).Draw(t, "changes")...)
	}
	return muts
}

// maybeDeleted sometimes makes of a write the deletion of its row.
func maybeDeleted(t *rapid.T, m table.Mutation) table.Mutation {
	if rapid.IntRange(0, 9).Draw(t, "delete") == 9 {
		return deletion(m)
	}
	return m
}

// deletion is that of the mutation's row, at its version.
func deletion(m table.Mutation) table.Mutation {
	t, _ := table.Lookup(m.Table)
	key := table.Row{}
	for _, c := range t.Key() {
		key[c.Name] = m.Row[c.Name]
	}
	return table.Mutation{Table: m.Table, Row: key, Delete: true, Version: m.Version}
}

func someImage(t *rapid.T) table.Mutation {
	i := table.Image{
		ImageID: someID.Draw(t, "id"), Tenant: someTenant.Draw(t, "tenant"),
		State:  rapid.SampledFrom([]string{"analysed", "analysed", "rejected", "deleted"}).Draw(t, "state"),
		SHA256: someHash.Draw(t, "sha256"), Bytes: someNumber.Draw(t, "bytes"), Width: someNumber.Draw(t, "width"),
		Height: someNumber.Draw(t, "height"), Camera: someText.Draw(t, "camera"), UploadedAt: someTime.Draw(t, "uploaded"),
		Version: someTime.Draw(t, "version"),
	}
	m := table.Images.Mutation(i)
	if i.State == "deleted" { // as the live pipeline writes it
		m.Row = table.Row{
			"image_id": i.ImageID, "tenant": i.Tenant, "state": i.State, "uploaded_at": i.UploadedAt, "version": i.Version,
		}
	}
	return maybeDeleted(t, m)
}

// oracle says from the set of writes what each row must be: of the writes of the greatest version a deletion, else the
// greatest value of each column.
func oracle(muts []table.Mutation) map[string][]map[string]any {
	type key struct{ table, row string }
	newest := map[key][]table.Mutation{}
	for _, m := range muts {
		k := key{m.Table, fmt.Sprint(deletion(m).Row)}
		if old := newest[k]; len(old) > 0 && old[0].Version > m.Version {
			continue
		} else if len(old) > 0 && old[0].Version < m.Version {
			newest[k] = nil
		}
		newest[k] = append(newest[k], m)
	}
	out := map[string][]map[string]any{}
	for k, writes := range newest {
		out[k.table] = append(out[k.table], expected(writes))
	}
	return out
}

func expected(writes []table.Mutation) map[string]any {
	t, _ := table.Lookup(writes[0].Table)
	row := map[string]any{"gone": false}
	for _, c := range append(t.Key(), t.Regular...) {
		row[c.Name] = map[table.Type]any{table.Text: "", table.BigInt: int64(0), table.Boolean: false}[c.Type]
	}
	first := true
	for _, w := range writes {
		if w.Delete {
			for _, c := range t.Regular {
				row[c.Name] = map[table.Type]any{table.Text: "", table.BigInt: int64(0), table.Boolean: false}[c.Type]
			}
			row["gone"] = true
			row["version"] = w.Version
			for name, value := range w.Row {
				row[name] = cleaned(value)
			}
			return row
		}
		for _, c := range append(t.Key(), t.Regular...) {
			zero := map[table.Type]any{table.Text: "", table.BigInt: int64(0), table.Boolean: false}[c.Type]
			value, ok := w.Row[c.Name]
			if !ok {
				value = zero
			}
			if value = cleaned(value); first || isGreater(value, row[c.Name]) {
				row[c.Name] = value
			}
		}
		first = false
	}
	return row
}

func cleaned(v any) any {
	if s, ok := v.(string); ok {
		return strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return v
}

func isGreater(a, b any) bool {
	switch x := a.(type) {
	case string:
		return x > b.(string)
	case int64:
		return x > b.(int64)
	}
	return a.(bool) && !b.(bool)
}

// sameRows compares a table with what it must hold.
func sameRows(t rapid.TB, conn *pgx.Conn, name string, want []map[string]any) {
	t.Helper()
	rows, err := conn.Query(context.Background(), "SELECT (to_jsonb(x) - 'duplicate')::text FROM darkroom."+name+" x")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, text := range texts {
		got[normal(t, text)] = true
	}
	for _, row := range want {
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if n := normal(t, string(text)); !got[n] {
			t.Errorf("%s lacks %s; it has %v", name, n, texts)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d rows, not %d", name, len(got), len(want))
	}
}

// normal is JSON with its keys in order.
func normal(t rapid.TB, text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// recounts are queries that must find nothing: each compares what triggers keep with a count of the rows themselves.
var recounts = map[string]string{
	"totals of images": `
		SELECT count(*) FROM (
			SELECT tenant, count(*) FILTER (WHERE state = 'analysed') i,
				coalesce(sum(bytes) FILTER (WHERE state = 'analysed'), 0) b,
				coalesce(sum(width::numeric * height) FILTER (WHERE state = 'analysed'), 0) p,
				count(*) FILTER (WHERE state = 'rejected') r
			FROM darkroom.image WHERE NOT gone GROUP BY 1) c
		FULL JOIN darkroom.totals t USING (tenant)
		WHERE (coalesce(i, 0), coalesce(b, 0), coalesce(p, 0), coalesce(r, 0))
			<> (coalesce(t.images, 0), coalesce(t.bytes, 0), coalesce(t.pixels, 0), coalesce(t.rejected, 0))`,
	"same_bytes": `
		SELECT count(*) FROM (
			SELECT tenant, sum(n - 1) s FROM (
				SELECT tenant, count(*) n FROM darkroom.hash_band
				WHERE band = 'sha256' AND NOT deleted AND NOT gone GROUP BY tenant, value
			) b GROUP BY 1) c
		FULL JOIN darkroom.totals t USING (tenant) WHERE coalesce(s, 0) <> coalesce(t.same_bytes, 0)`,
	"buckets": `
		SELECT count(*) FROM (
			SELECT tenant, band, value, count(*) n FROM darkroom.hash_band
			WHERE NOT deleted AND NOT gone GROUP BY 1, 2, 3) c
		FULL JOIN darkroom.bucket b USING (tenant, band, value) WHERE coalesce(n, 0) <> coalesce(members, 0)`,
	"duplicate flags": `
		SELECT count(*) FROM darkroom.image i WHERE duplicate <> (state = 'analysed' AND EXISTS (
			SELECT FROM darkroom.hash_band h WHERE h.tenant = i.tenant AND band = 'sha256' AND value = i.sha256
				AND image_id = i.image_id AND NOT deleted AND NOT gone
		) AND EXISTS (
			SELECT FROM darkroom.hash_band h WHERE h.tenant = i.tenant AND band = 'sha256' AND value = i.sha256
				AND image_id <> i.image_id AND NOT deleted AND NOT gone))`,
}

func recount(t rapid.TB, conn *pgx.Conn) {
	t.Helper()
	for what, sql := range recounts {
		var wrong int
		if err := conn.QueryRow(context.Background(), sql).Scan(&wrong); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if wrong != 0 {
			t.Errorf("%s: %d are wrong", what, wrong)
		}
	}
}

func TestAnyDeliveryOfTheSameChangesEndsInTheSameCopy(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	conn := connect(t, dsn)
	rapid.Check(t, func(rt *rapid.T) {
		muts := someChanges(rt)
		exec(t, conn, "DROP SCHEMA IF EXISTS darkroom CASCADE")
		k := newKafka(t, 2, allTopics...)
		defer k.close()
		deliver(t, rt, k, dsn, conn, muts)
		for name, want := range oracle(muts) {
			sameRows(rt, conn, name, want)
		}
		recount(rt, conn)
		if rt.Failed() || !rapid.Bool().Draw(rt, "rebuild") {
			return
		}
		before := copyOf(t, conn)
		if err := newInstance(t, k.config(dsn)).Rebuild(context.Background(), nil); err != nil {
			rt.Fatal(err)
		}
		if after := copyOf(t, conn); !reflect.DeepEqual(before, after) {
			rt.Fatalf("rebuilt:\n%v\nbefore:\n%v", after, before)
		}
		recount(rt, conn)
	})
}

// deliver publishes the changes in any order, some of them again and again, to any partitions, in several parts.
// Between parts the consumer may be replaced by another, which takes other batches.
func deliver(t *testing.T, rt *rapid.T, k *kafka, dsn string, conn *pgx.Conn, muts []table.Mutation) {
	var records []*kgo.Record
	for _, m := range muts {
		for range rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(rt, "times") {
			records = append(records, record(t, m, rapid.Int32Range(0, 1).Draw(rt, "partition")))
		}
	}
	records = rapid.Permutation(records).Draw(rt, "order")
	start := func() (stop func()) {
		cfg := k.config(dsn)
		cfg.BatchRecords = rapid.SampledFrom([]int{1, 3, 10, 1000}).Draw(rt, "batch")
		return newInstance(t, cfg).start(t)
	}
	stop := start()
	defer func() { stop() }()
	for len(records) > 0 {
		n := rapid.IntRange(1, len(records)).Draw(rt, "part")
		k.send(t, records[:n]...)
		records = records[n:]
		if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
			stop()
			stop = start()
		}
	}
	consumed(t, k, conn)
}
