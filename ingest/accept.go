package ingest

import (
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"darkroom/internal/pixels"
)

// qvalue is a weight (RFC 9110, section 12.4.2).
var qvalue = regexp.MustCompile(`^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$`)

// parseAccept reads an Accept header (RFC 9110, section 12.5.1): the weight of each media range. An item that is not
// understood counts for nothing, and of a range that is named twice the last counts.
func parseAccept(header string) map[string]float64 {
	ranges := map[string]float64{}
	for item := range strings.SplitSeq(header, ",") {
		mediaRange, params, err := mime.ParseMediaType(item)
		if err != nil || !strings.Contains(mediaRange, "/") {
			continue
		}
		weight := 1.0
		if q, ok := params["q"]; ok {
			if !qvalue.MatchString(q) {
				continue
			}
			weight, _ = strconv.ParseFloat(q, 64) // digits and a point
		}
		ranges[mediaRange] = weight
	}
	return ranges
}

// chooseFormat is the format of format=auto: what Accept likes best of AVIF, WebP and the one that all know, in this
// order among equals. AVIF and WebP must be named: many who know neither send */*. Where nothing is acceptable it is the
// one that all know, as RFC 9110 allows.
func chooseFormat(accept string, original pixels.Format, animate bool, encodes []pixels.Format) pixels.Format {
	best, others := pixels.JPEG, []pixels.Format{pixels.WebP, pixels.AVIF}
	if animate {
		best, others = pixels.GIF, []pixels.Format{pixels.WebP}
	} else if original == pixels.PNG || original == pixels.GIF || original == pixels.WebP {
		best = pixels.PNG // it may be transparent
	}
	ranges := parseAccept(accept)
	weight := 0.0
	for _, r := range []string{best.MediaType(), "image/*", "*/*"} {
		if w, ok := ranges[r]; ok {
			weight = w
			break
		}
	}
	for _, f := range others {
		if w := ranges[f.MediaType()]; w > 0 && w >= weight && slices.Contains(encodes, f) {
			best, weight = f, w
		}
	}
	return best
}
