// Package statsapi answers questions about all images: sums, sums over time, the images and their duplicates.
//
// It keeps a copy of the table store in PostgreSQL, which follows the store's changes on Kafka (see table.Change), and
// serves it over HTTP; openapi.yaml is the contract. Its guarantees:
//
//   - The copy depends on the set of changes alone, never on their order or on how often each arrives: of the versions
//     of a row the greatest wins, and versions that are equal are joined as the store joins them, so that the greater
//     value of each column wins, and a deletion beats both.
//   - Where to read on is written in the transaction of the rows that were read, so a crash at any moment loses nothing
//     and counts nothing twice.
//   - The sums are kept by triggers on the rows themselves, so they are exact whatever happens to the rows.
//   - as_of never goes back, and of every event before it the image is in the copy when it is shown. The sums over time,
//     which the pipeline publishes about a second after the images, may lag behind it for as long.
//   - A record that cannot be applied stops nothing and does not vanish: the table cdc_rejected keeps it.
//   - Of all instances on one database exactly one consumes; all serve.
//
// A row is copied as its change gives it. The store's writers write rows whole; the one exception is an image's
// deletion, whose facts are not asked for.
package statsapi

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi.yaml openapi.yaml
