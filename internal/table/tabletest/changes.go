package tabletest

import (
	"maps"
	"math"

	"darkroom/internal/table"
)

// ChangeCase is a mutation whose change record has something of its own.
type ChangeCase struct {
	Name     string
	Mutation table.Mutation
}

// ChangeCases are mutations of rows whose keys hold run. A store's change stream tells each by a record that
// table.DecodeChange reads as the same mutation.
func ChangeCases(run string) []ChangeCase {
	const v = 1_700_000_000_000_001
	cases := []ChangeCase{
		{"image", table.Images.Mutation(table.Image{ImageID: run + "-image", Tenant: "acme", State: table.StateAnalysed,
			SHA256: "00ff", Bytes: 1 << 40, MediaType: "image/jpeg", Filename: "a \"b\" <é>\n.jpg", Format: "jpeg", Width: 40,
			Height: 30, Frames: 1, Orientation: 1, Camera: "Canon \\ EOS", UploadedAt: v, Version: v})},
		{"image_deleted", table.Mutation{Table: "image", Version: v + 1, Row: table.Row{"image_id": run + "-image",
			"tenant": "acme", "state": table.StateDeleted, "uploaded_at": int64(v), "version": int64(v + 1)}}},
		{"image_row_deleted", table.Mutation{Table: "image", Version: v, Delete: true, // a whole partition
			Row: table.Row{"image_id": run + "-gone"}}},
		{"hash_band", table.HashBands.Mutation(table.HashBand{Tenant: run, Band: "sha256", Value: "00ff", ImageID: "i",
			Deleted: true, Version: v})},
		{"image_stats", table.AllImageStats.Mutation(table.ImageStats{Tenant: run, Dimension: table.DimensionAll,
			Day: "2023-11-14", WindowStart: v, Images: 1, Bytes: math.MaxInt64, Events: 3, Version: v + 3})},
		{"progress", table.Progresses.Mutation(table.Progress{Pipeline: run, CompleteTo: v, Version: v})},
		{"types", lumps.Mutation(lump{Run: run, Flag: true, Data: []byte{0, 0xfe, 0xff}, Note: "\x00 \b\x7f \U0010ffff &",
			Version: v})},
	}
	key := items.Key(item{Run: run, Part: -1, Num: math.MinInt64, Name: ""})
	add := func(name string, version int64, cells table.Row) {
		row := maps.Clone(key)
		row["num"] = int64(len(cases)) // a row for each case
		maps.Copy(row, cells)
		cases = append(cases, ChangeCase{name, table.Mutation{Table: "tabletest_item", Row: row, Version: version,
			Delete: name == "row_deleted" || name == "row_deleted_least"}})
	}
	add("some_cells", v, table.Row{"count": int64(math.MinInt64), "version": int64(v)})
	add("no_cells", v, nil)
	add("empty_cells", v, table.Row{"text": "", "data": []byte{}, "flag": false})
	add("deleted_cells", v, table.Row{"text": nil, "data": nil, "flag": nil, "count": nil, "version": nil})
	add("row_deleted", v, nil)
	add("before_1970", -1_234_567, table.Row{"flag": true})
	add("least", math.MinInt64+1, table.Row{"flag": true})
	add("row_deleted_least", math.MinInt64+1, nil)
	add("greatest", math.MaxInt64, table.Row{"flag": true})
	return cases
}
