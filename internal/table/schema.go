package table

// The keyspace's tables. Each row type below is the one definition of its table: Define reads the columns from the cql
// tags. Times are microseconds since 1970 UTC. Every row carries its version as a column as well, so that a consumer of
// the change stream can apply the store's own rule (a row of a lower version changes nothing) without the store.

// VersionColumn is the name of that column in each of these tables.
const VersionColumn = "version"

// States of an image.
const (
	StateAnalysed = "analysed"
	StateRejected = "rejected"
	StateDeleted  = "deleted"
)

// Image is what is known of one image. It is always written whole; facts that do not apply are zero.
type Image struct {
	ImageID     string `cql:"image_id,partition"`
	Tenant      string `cql:"tenant"`
	State       string `cql:"state"`
	Code        string `cql:"code"`   // why it was rejected: a stable word
	Detail      string `cql:"detail"` // why it was rejected: for a person
	SHA256      string `cql:"sha256"` // lower-case hex
	Bytes       int64  `cql:"bytes"`
	MediaType   string `cql:"media_type"`
	Filename    string `cql:"filename"` // the client's label, never a path of ours
	Format      string `cql:"format"`
	Width       int64  `cql:"width"`  // pixels, as stored
	Height      int64  `cql:"height"` // pixels, as stored
	Frames      int64  `cql:"frames"`
	Orientation int64  `cql:"orientation"` // EXIF 1 to 8; 1 when there is none
	Camera      string `cql:"camera"`      // EXIF make and model
	TakenAt     string `cql:"taken_at"`    // EXIF DateTimeOriginal as RFC 3339 without a zone where none is given
	UploadedAt  int64  `cql:"uploaded_at"`
	Version     int64  `cql:"version,version"` // the event's time
}

// HashBand is one image's membership of a bucket of equal hash values. Band "sha256" holds the images of equal bytes.
type HashBand struct {
	Tenant  string `cql:"tenant,partition"`
	Band    string `cql:"band,partition"`
	Value   string `cql:"value,partition"`
	ImageID string `cql:"image_id,clustering"`
	Deleted bool   `cql:"deleted"`         // left the bucket; kept as a row so that an older write cannot bring it back
	Version int64  `cql:"version,version"` // the event's time
}

// The dimensions by which ImageStats are kept.
const (
	DimensionAll    = "all" // one value, the empty string
	DimensionFormat = "format"
	DimensionCamera = "camera"
)

// ImageStats are the sums over one window of one minute.
type ImageStats struct {
	Tenant      string `cql:"tenant,partition"`
	Dimension   string `cql:"dimension,partition"`
	Day         string `cql:"day,partition"` // UTC, 2006-01-02; bounds the partition
	WindowStart int64  `cql:"window_start,clustering"`
	Value       string `cql:"value,clustering"`
	Images      int64  `cql:"images"` // analysed
	Bytes       int64  `cql:"bytes"`
	Pixels      int64  `cql:"pixels"`
	Rejected    int64  `cql:"rejected"`
	Events      int64  `cql:"events"`          // events folded into the pane
	Version     int64  `cql:"version,version"` // WindowStart + Events
}

// States of a variant.
const (
	StateMade   = "made"
	StateFailed = "failed"
)

// Variant is one derivative of an image: what was made, or why it could not be; then the facts of the file are zero. It
// is always written whole.
type Variant struct {
	ImageID      string `cql:"image_id,partition"`
	Name         string `cql:"name,clustering"` // recipe/output
	Tenant       string `cql:"tenant"`
	State        string `cql:"state"`
	Code         string `cql:"code"`     // why it failed: a stable word
	Detail       string `cql:"detail"`   // why it failed: for a person
	BlobKey      string `cql:"blob_key"` // where the file is in the bucket
	Format       string `cql:"format"`
	Width        int64  `cql:"width"`  // pixels
	Height       int64  `cql:"height"` // pixels
	Frames       int64  `cql:"frames"`
	Bytes        int64  `cql:"bytes"`
	Quality      int64  `cql:"quality"`         // with which it was encoded; 0 for formats that have none
	Plain        bool   `cql:"plain"`           // it keeps nothing of the metadata, and what showed through is white
	SHA256       string `cql:"sha256"`          // of the file, lower-case hex
	SourceSHA256 string `cql:"source_sha256"`   // of the image that it was made of
	RecipeHash   string `cql:"recipe_hash"`     // of the output; another one makes the variant out of date
	Engine       string `cql:"engine"`          // name and version of what made it
	Version      int64  `cql:"version,version"` // the time of the job's making
}

// Progress says how far a pipeline has come.
type Progress struct {
	Pipeline   string `cql:"pipeline,partition"`
	CompleteTo int64  `cql:"complete_to"`     // every event before this time is in the tables
	Version    int64  `cql:"version,version"` // CompleteTo
}

// The keyspace's tables, typed.
var (
	Images        = Define[Image]("image")
	HashBands     = Define[HashBand]("hash_band")
	AllImageStats = Define[ImageStats]("image_stats")
	Variants      = Define[Variant]("variant")
	Progresses    = Define[Progress]("progress")
)
