// Package ingest is the upload service: it takes images over HTTP, keeps them in S3 and says so on Kafka. openapi.yaml
// is its contract.
//
// Its guarantees:
//
//   - An upload or deletion that was answered with success is durable, and its event reaches Kafka, whatever dies when.
//     S3 is the outbox: before anything else an entry is put into the journal, and only Kafka's acknowledgement removes
//     it. What a crash or an outage of Kafka leaves there, the sweeper of any instance finishes.
//   - An event may be published more than once, but always with the same id, and an image's versions only grow.
//   - An upload that was refused, or whose body was cut, leaves nothing and publishes nothing. When S3 fails in the
//     middle the answer is 503; the upload is then either not there at all or, if it was in the journal already,
//     becomes whole later. To repeat it is safe.
//   - Of any number of uploads of one image at once, on any number of instances, one wins; the others are answered as
//     its repeats or refused. S3's conditional puts decide, no lock.
//   - A body is hashed and sent to S3 while it arrives. What is held in memory does not depend on its size.
//
// The bucket holds, beside the images at tenant/sha256, what no tenant's name can begin with:
//
//	_incoming/<random>      a body that arrives; copied within S3 to its place when it is complete
//	_journal/<event id>     an event that Kafka has not acknowledged, and where its image's bytes are
//	_records/<image id>     what is known of an image; a conditional put of it decides who wins
//	_leases/<image id>      somebody uploads under an Idempotency-Key; for the answer 409 alone, so to lose one is safe
package ingest

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi.yaml openapi.yaml
