package statsapi

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"darkroom/internal/event"
	"darkroom/internal/service"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxCamera    = 512 // characters
)

// rule says what a query parameter may be.
type rule struct {
	right string // what would be right, for the client to read
	ok    func(string) bool
}

var (
	tenantRule = rule{"give a tenant's name: 1 to 63 lower-case letters, digits and inner hyphens", event.ValidTenant}
	timeRule   = rule{
		"give a time of RFC 3339, from 1970 to 2199, such as 2026-01-02T15:04:05Z; the + of a zone is written %2B",
		isTime,
	}
	limitRule = rule{"give a whole number from 1 to " + strconv.Itoa(maxLimit), func(s string) bool {
		n, ok := number(s)
		return ok && n >= 1 && n <= maxLimit
	}}
	// What a cursor holds is checked with the filters that it is bound to.
	cursorRule = rule{
		"give the next_cursor of the page before, with the same filters",
		func(s string) bool { return s != "" },
	}
	cameraRule = rule{
		"give a camera's whole name, in UTF-8, of at most " + strconv.Itoa(maxCamera) + " characters",
		isCamera,
	}
	formatRule = rule{
		"give a format's name, such as jpeg: 1 to 32 lower-case letters and digits",
		regexp.MustCompile(`^[a-z0-9]{1,32}$`).MatchString,
	}
	widthRule = rule{"give a whole number of pixels, 1 or more", func(s string) bool {
		n, ok := number(s)
		return ok && n >= 1
	}}
	boolRule = rule{"give true or false", func(s string) bool { return s == "true" || s == "false" }}
	stepRule = rule{"give whole days, hours and minutes, such as 1m, 5m, 1h or 1d, at most 366d", func(s string) bool {
		_, err := parseStep(s)
		return err == nil
	}}
	metricRule = rule{"give images, bytes or pixels", func(s string) bool { return Metric(s).Valid() }}
	byRule     = rule{"give format, camera or tenant", func(s string) bool { return Dimension(s).Valid() }}
)

// rules are the query parameters of each path.
var rules = map[string]map[string]rule{
	"/v1/stats/summary": {"tenant": tenantRule},
	"/v1/stats/series": {
		"metric": metricRule, "from": timeRule, "to": timeRule, "step": stepRule, "by": byRule, "tenant": tenantRule,
	},
	"/v1/images": {
		"format": formatRule, "camera": cameraRule, "from": timeRule, "to": timeRule, "min_width": widthRule,
		"duplicate": boolRule, "limit": limitRule, "cursor": cursorRule, "tenant": tenantRule,
	},
	"/v1/images/:id":            {"tenant": tenantRule},
	"/v1/images/:id/duplicates": {"limit": limitRule, "cursor": cursorRule, "tenant": tenantRule},
}

// checkQuery refuses a request whose query is not right, and says what would be. It runs before the generated code
// binds the parameters, whose errors would not say that.
func checkQuery(c *gin.Context) {
	allowed := rules[c.FullPath()]
	values, err := url.ParseQuery(c.Request.URL.RawQuery) // unlike URL.Query, it does not pass over what it cannot read
	if err != nil {
		service.Abort(c, kindInvalidParameter, "the query cannot be read: %v", err)
		return
	}
	for _, name := range sortedKeys(values) {
		r, known := allowed[name]
		switch given := values[name]; {
		case !known:
			service.Abort(c, kindInvalidParameter, "parameter %q is unknown; those of this path are %s",
				clip(name), strings.Join(sortedKeys(allowed), ", "))
		case len(given) > 1:
			service.Abort(c, kindInvalidParameter, "parameter %s is given %d times; give it once", name, len(given))
		case !r.ok(given[0]):
			service.Abort(c, kindInvalidParameter, "parameter %s: %q is not right; %s", name, clip(given[0]), r.right)
		default:
			continue
		}
		return
	}
	if _, ok := values["metric"]; !ok && c.FullPath() == "/v1/stats/series" {
		service.Abort(c, kindInvalidParameter, "parameter metric is missing; %s", metricRule.right)
	}
}

// badParameter answers what the generated code still refuses, such as a path that cannot be decoded.
func badParameter(c *gin.Context, err error, _ int) {
	service.Abort(c, kindInvalidParameter, "%v", err)
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && s[0] != '+'
}

// rfc3339 is the form of its times. time.Parse takes others too, such as a comma before the fraction.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// isTime wants a time that microseconds and durations can hold with room to spare.
func isTime(s string) bool {
	t, err := time.Parse(time.RFC3339, s)
	return err == nil && rfc3339.MatchString(s) && t.UTC().Year() >= 1970 && t.UTC().Year() < 2200
}

func isCamera(s string) bool { return utf8.RuneCountInString(s) <= maxCamera && isText(s) }

// isText reports whether PostgreSQL can take the string.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// clip keeps an answer from repeating a request without end.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
