// Package dedupe finds images that are duplicates of others.
//
// Images of the same bytes are found by membership: each image is a row in the bucket of its SHA-256, so a bucket of
// two rows is a pair of duplicates. A row is written whatever else the bucket holds, so no order of arrival, repeat or
// concurrent upload changes the outcome, nothing is read, and a thousand copies make a thousand rows, not half a
// million pairs. Nothing is matched across tenants: it would tell one what another holds.
package dedupe

import (
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"darkroom/internal/table"
)

// BandSHA256 is the band of images of equal bytes; its values are SHA-256 in lower-case hex.
const BandSHA256 = "sha256"

func init() {
	register.Function2x0(sameBytes)
	register.Emitter1[table.HashBand]()
	beam.RegisterType(reflect.TypeFor[table.HashBand]())
}

// SameBytes puts each analysed image into the bucket of its bytes and takes each deleted one out.
//
//	SameBytes: PCollection<table.Image> -> PCollection<table.HashBand>
func SameBytes(s beam.Scope, images beam.PCollection) beam.PCollection {
	return beam.ParDo(s.Scope("dedupe.SameBytes"), sameBytes, images)
}

func sameBytes(i table.Image, emit func(table.HashBand)) {
	if i.State == table.StateRejected {
		return
	}
	emit(table.HashBand{
		Tenant: i.Tenant, Band: BandSHA256, Value: i.SHA256, ImageID: i.ImageID,
		Deleted: i.State == table.StateDeleted, Version: i.Version,
	})
}
