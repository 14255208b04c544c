package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/singleflight"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/pixels"
	"darkroom/internal/recipe"
	"darkroom/internal/service"
	"darkroom/internal/table"
	"darkroom/internal/variant"
)

const (
	// maxOriginal is the most bytes of an original of which variants are made: it is held in memory.
	maxOriginal = 256 << 20
	// How long a failure is remembered: an image of which nothing can be made is not decoded with each request. Another
	// engine may read what one does not, and what took too long may have done so because the machine was busy.
	forgetFailure  = 24 * time.Hour
	forgetOverload = 10 * time.Minute
)

// variants finds the variants of images, and makes those that are missing.
type variants struct {
	*Service
	lab     variant.LabConfig
	limits  pixels.Limits
	flight  singleflight.Group
	room    chan struct{} // has a token for each variant that is being made or waits for its turn
	encodes atomic.Pointer[[]pixels.Format]

	ctx   context.Context // of all making: it ends with the service, not with the client who asked first
	close context.CancelFunc
}

func newVariants(s *Service) *variants {
	cfg := s.cfg.Variants
	limits := pixels.DefaultLimits
	limits.MaxPixels = cfg.MaxPixels
	v := &variants{
		Service: s, limits: limits, room: make(chan struct{}, cfg.Processes+cfg.Waiting),
		lab: variant.LabConfig{
			Choice: cfg.Choice, Size: cfg.Processes, Duty: 1, Timeout: cfg.Timeout,
		},
	}
	v.ctx, v.close = context.WithCancel(context.Background())
	return v
}

// jobOf is the making of one output.
func jobOf(r record, o recipe.Output) variant.Job {
	return variant.Job{
		Image:  variant.Uploaded(r.Image),
		Recipe: recipe.Recipe{Name: recipe.ContentName, Outputs: []recipe.Output{o}, Target: recipe.DefaultTarget},
	}
}

// get returns a variant of an image: a stored one if it is what is asked for, else one that is made.
func (v *variants) get(ctx context.Context, r record, o recipe.Output) (served, error) {
	job := jobOf(r, o)
	f, err := v.stored(ctx, r, job)
	var refused *pixels.Error
	switch {
	case err == nil:
		v.metrics.variants.WithLabelValues(variantStored).Inc()
		return f, nil
	case errors.Is(err, errNotStored):
		return v.make(ctx, job)
	case errors.As(err, &refused):
		v.metrics.variants.WithLabelValues(refused.Code).Inc()
		return f, refuseVariant(refused)
	}
	return f, err
}

// errNotStored says that a variant has to be made.
var errNotStored = errors.New("no variant is stored")

// stored looks for a variant in the table, and where that cannot be asked in the bucket. ErrNotStored; a *pixels.Error
// where it is known that none can be made.
func (v *variants) stored(ctx context.Context, r record, job variant.Job) (served, error) {
	if v.tables != nil {
		asked, cancel := context.WithTimeout(ctx, factsTimeout)
		rows, err := variant.Rows(asked, v.tables, job.Image.ImageID)
		cancel()
		if err == nil {
			return v.among(ctx, rows, r, job)
		}
		v.log.Warn("look for a variant without the table", "error", err)
	}
	key := job.Recipe.Key(variant.Seen(job.Image), job.Recipe.Outputs[0], 0, 0)
	o, err := v.openObject(ctx, key, "")
	if errors.Is(err, blob.ErrNotFound) {
		return served{}, errNotStored
	}
	if err != nil {
		return served{}, err
	}
	defer o.Body.Close()
	data, err := io.ReadAll(io.LimitReader(o.Body, maxOriginal)) // which no variant comes near
	if err != nil {
		return served{}, fmt.Errorf("read %s: %w", key, err)
	}
	return atHand(job, data), nil
}

// atHand is the file of a variant whose bytes are in memory.
func atHand(job variant.Job, data []byte) served {
	sum := sha256.Sum256(data)
	f := fileOf(job, job.Recipe.Outputs[0].Format)
	f.data, f.size, f.sha256 = data, int64(len(data)), hex.EncodeToString(sum[:])
	return f
}

func fileOf(job variant.Job, format pixels.Format) served {
	f := served{mediaType: format.MediaType(), variant: &job}
	if name := job.Image.Filename; name != "" {
		f.label = strings.TrimSuffix(name, path.Ext(name)) + "." + format.Extension()
	}
	return f
}

// among looks for a variant among the rows of its image.
func (v *variants) among(ctx context.Context, rows []table.Variant, r record, job variant.Job) (served, error) {
	o := job.Recipe.Outputs[0]
	current := len(job.Outdated(rows)) == 0
	var facts pixels.Facts
	for _, row := range rows {
		if row.SourceSHA256 != job.Image.SHA256 || row.State != table.StateMade {
			continue
		}
		if !current && facts.Width == 0 {
			facts = v.shape(ctx, r)
		}
		if current && row.Name == job.Recipe.VariantName(o) || !current && fits(row, o, facts) {
			f := fileOf(job, pixels.Format(row.Format))
			f.key, f.size, f.sha256 = row.BlobKey, row.Bytes, row.SHA256
			return f, nil
		}
	}
	for _, row := range rows {
		own := row.Name == job.Recipe.VariantName(o) && row.RecipeHash == job.Recipe.Hash(o)
		age := time.Since(time.UnixMicro(row.Version))
		if row.State == table.StateFailed && row.SourceSHA256 == job.Image.SHA256 && rememberedFor(row.Code, own) > age {
			return served{}, &pixels.Error{Code: row.Code, Err: errors.New(row.Detail)}
		}
	}
	return served{}, errNotStored
}

// rememberedFor is how long the failure of a variant counts for a request, for that of another variant too if the code
// tells of the image itself.
func rememberedFor(code string, own bool) time.Duration {
	switch code {
	case pixels.CodeMalformed, pixels.CodeTruncated, pixels.CodeUnknownFormat, pixels.CodeBadDimensions:
		return forgetFailure
	case pixels.CodeDecodeCrash:
		return forgetOverload
	case pixels.CodeDecodeTimeout, pixels.CodeResourceLimit:
		if own {
			return forgetOverload
		}
	case event.CodeBlobMissing, event.CodeChecksum: // which an upload puts right
	default:
		if own {
			return forgetFailure
		}
	}
	return 0
}

// shape is what the size of a variant depends on; zero where it is not known (yet).
func (v *variants) shape(ctx context.Context, r record) pixels.Facts {
	row, err := v.facts(ctx, r)
	if err != nil {
		v.log.Warn("look for a variant without facts", "image", r.Image.ImageID, "error", err)
	}
	return pixels.Facts{Width: row.Width, Height: row.Height, Orientation: row.Orientation}
}

// fits reports whether a variant of another recipe, or of another box, is what an output asks for: the whole image in
// the size that the output leads to, in its format and quality, without metadata and on white. That two are cut alike a
// row does not tell, so that one which is cut fits no other. How much it is sharpened a request leaves to the recipes.
func fits(row table.Variant, o recipe.Output, original pixels.Facts) bool {
	p, err := o.Pixels()
	full := original.Upright()
	if err != nil || full.X <= 0 || full.Y <= 0 || o.Animate || row.Frames != 1 || !row.Plain {
		return false
	}
	whole, size := p.Plan(full)
	_, inside := pixels.Output{Width: size.X, Height: size.Y}.Plan(full)
	return whole == size && inside == size && row.Width == int64(size.X) && row.Height == int64(size.Y) &&
		row.Format == string(o.Format) && row.Quality == int64(o.Quality)
}

// make makes a variant, stores it, and returns it. Requests for the same one at the same time wait for the first. The
// making goes on when they go away: what is made is stored.
func (v *variants) make(ctx context.Context, job variant.Job) (served, error) {
	first := false
	key := job.Image.ImageID + " " + job.Image.SHA256 + " " + job.Recipe.Hash(job.Recipe.Outputs[0])
	done := v.flight.DoChan(key, func() (any, error) {
		first = true
		return v.makeOne(job)
	})
	select {
	case <-ctx.Done():
		return served{}, ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return served{}, result.Err
		}
		if !first {
			v.metrics.variants.WithLabelValues(variantShared).Inc()
		}
		return result.Val.(served), nil
	}
}

// makeOne makes a variant if there is room for it.
func (v *variants) makeOne(job variant.Job) (f served, err error) {
	result := variantMade
	defer func() {
		if cause := recover(); cause != nil { // here it would end the process
			v.log.Error("making a variant panicked", "image", job.Image.ImageID, "panic", cause, "stack", string(debug.Stack()))
			result, err = variantError, refuse(service.KindInternal, "The variant could not be made.")
		}
		v.metrics.variants.WithLabelValues(result).Inc()
	}()
	select {
	case v.room <- struct{}{}:
	default:
		result = variantBusy
		return f, refuseBusy("As many as may are waiting for their turn.")
	}
	defer func() { <-v.room }()
	v.metrics.variantsMaking.Inc()
	defer v.metrics.variantsMaking.Dec()
	began := time.Now()
	defer func() { v.metrics.variantSeconds.Observe(time.Since(began).Seconds()) }()

	ctx, cancel := context.WithTimeout(v.ctx, 2*v.cfg.Variants.Timeout)
	defer cancel()
	job.Version = began.UnixMicro()
	f, err = v.derive(ctx, job)
	var refused *pixels.Error
	switch {
	case err == nil:
	case errors.As(err, &refused):
		result = refused.Code
		err = v.refused(ctx, job, refused)
	case ctx.Err() != nil:
		result = variantBusy
		err = refuseBusy("It took too long.")
	default:
		result = variantError
	}
	return f, err
}

// derive reads the original, makes the variant and stores it.
func (v *variants) derive(ctx context.Context, job variant.Job) (f served, err error) {
	outputs, err := variant.Pixels(job.Recipe.Outputs)
	if err != nil {
		return f, err
	}
	lab, err := variant.Enter(v.lab)
	if err != nil {
		return f, v.broken(err)
	}
	defer lab.Leave()
	data, release, err := job.Load(ctx, lab, v.blobs, maxOriginal)
	if err != nil {
		return f, err
	}
	defer release()
	made, _, err := lab.Derive(ctx, data, v.limits, outputs)
	if err != nil {
		return f, v.broken(err)
	}
	engine, err := lab.Engine(ctx)
	if err != nil {
		return f, v.broken(err)
	}
	rows, err := job.Put(ctx, v.blobs, job.Recipe.Outputs, made, engine)
	if err != nil {
		return f, err
	}
	v.write(ctx, rows)
	return atHand(job, made[0].Data), nil
}

// write writes rows, if it can: without them the variant is still in the bucket, or made again.
func (v *variants) write(ctx context.Context, rows []table.Variant) {
	if v.tables == nil {
		return
	}
	if err := variant.Write(ctx, v.tables, rows); err != nil {
		v.log.Warn("a variant is not in the table", "error", err)
	}
}

// broken is the error for processes that cannot be had.
func (v *variants) broken(err error) error {
	if pixels.CodeOf(err) != "" || v.ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	v.log.Error("no variants can be made", "error", err)
	return refuseBusy("The processes that make variants cannot be started.")
}

// refused remembers that a variant cannot be made.
func (v *variants) refused(ctx context.Context, job variant.Job, why *pixels.Error) error {
	if why.Code == event.CodeBlobMissing || why.Code == event.CodeChecksum {
		v.log.Error("an image's bytes are not as they should be", "image", job.Image.ImageID, "error", why)
		return refuse(service.KindInternal, "The image's bytes are not where they should be.")
	}
	// The time for making it may be over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factsTimeout)
	defer cancel()
	v.write(ctx, job.Failed(job.Recipe.Outputs, why))
	return refuseVariant(why)
}

func refuseVariant(why *pixels.Error) error {
	r := refuse(kindNotDerivable, "%s", why.Error())
	r.code = why.Code
	return r
}

// format is the format of the variant that a request asks for.
func (v *variants) format(c *gin.Context, w wanted, r record) pixels.Format {
	if !w.auto() {
		return w.output.Format
	}
	original, _ := pixels.FormatOfMediaType(r.Image.MediaType)
	accept := strings.Join(c.Request.Header.Values("Accept"), ",")
	return chooseFormat(accept, original, w.output.Animate, v.encoded(c.Request.Context()))
}

// encoded are the formats that the engine writes. Where it cannot be asked they are taken to be all: making will tell.
func (v *variants) encoded(ctx context.Context) []pixels.Format {
	if known := v.encodes.Load(); known != nil {
		return *known
	}
	lab, err := variant.Enter(v.lab)
	if err != nil {
		return pixels.EncodedFormats
	}
	defer lab.Leave()
	info, err := lab.Info(ctx)
	if err != nil {
		return pixels.EncodedFormats
	}
	v.encodes.Store(&info.Encodes)
	return info.Encodes
}
