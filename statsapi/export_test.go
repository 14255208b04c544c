package statsapi

// What the external tests need of the inside.
var (
	ParseStep    = parseStep
	FormatStep   = formatStep
	DecodeCursor = decodeCursor
	IsAway       = isAway
)

// EncodeCursor is place.encode.
func EncodeCursor(uploadedAt int64, id, filters string) string {
	return place{uploadedAt, id}.encode(filters)
}

// ParameterNames are the query parameters that checkQuery allows on a path.
func ParameterNames(path string) []string { return sortedKeys(rules[path]) }

// Columns are the names of a table's columns as the copy writes them, without version and gone.
func Columns() map[string][]string {
	out := map[string][]string{}
	for _, m := range mirrors {
		for _, c := range m.columns {
			out[m.table.Name] = append(out[m.table.Name], c.Name+" "+postgresType(c.Type))
		}
	}
	return out
}

// PlaceOf takes a place apart.
func PlaceOf(p place) (uploadedAt int64, id string) { return p.uploadedAt, p.id }
