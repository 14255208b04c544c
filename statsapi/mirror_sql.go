package statsapi

import (
	"fmt"
	"strings"

	"darkroom/internal/table"
)

// upsertSQL writes arrays of rows. A row that is there already is replaced by a newer one, and joined with one of the
// same version; the statement counts only the rows that it changed. For a table t(k, x) it is
//
//	INSERT INTO t AS old (k, x, version, gone) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bool[])
//	ON CONFLICT (k) DO UPDATE SET
//	x = CASE WHEN (newer) THEN excluded.x ELSE greatest(old.x, excluded.x) END,
//	version = excluded.version, gone = excluded.gone
//	WHERE (newer) OR (the versions are equal) AND (excluded.x > old.x)
//
// where newer compares (version, gone).
func (m *mirror) upsertSQL() string {
	const newer = "(excluded.version, excluded.gone) > (old.version, old.gone)"
	const same = "(excluded.version, excluded.gone) = (old.version, old.gone)"
	keys := len(m.table.Key())
	var names, arrays, sets, greater []string
	for i, col := range m.columns {
		names = append(names, col.Name)
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, postgresType(col.Type)))
		if i < keys {
			continue
		}
		sets = append(sets, fmt.Sprintf(
			"%s = CASE WHEN %s THEN excluded.%[1]s ELSE greatest(old.%[1]s, excluded.%[1]s) END", col.Name, newer))
		greater = append(greater, fmt.Sprintf("excluded.%s > old.%[1]s", col.Name))
	}
	key := strings.Join(names[:keys], ", ")
	names = append(names, versionColumn, "gone")
	arrays = append(arrays, fmt.Sprintf("$%d::bigint[]", len(arrays)+1), fmt.Sprintf("$%d::boolean[]", len(arrays)+2))
	sets = append(sets, "version = excluded.version", "gone = excluded.gone")
	return fmt.Sprintf("INSERT INTO %s AS old (%s) SELECT * FROM unnest(%s)\n"+
		"ON CONFLICT (%s) DO UPDATE SET\n%s\nWHERE %s OR %s AND (%s)",
		m.table.Name, strings.Join(names, ", "), strings.Join(arrays, ", "),
		key, strings.Join(sets, ",\n"), newer, same, strings.Join(greater, " OR "))
}

func postgresType(t table.Type) string {
	switch t {
	case table.BigInt:
		return "bigint"
	case table.Boolean:
		return "boolean"
	}
	return "text"
}
