package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"darkroom/ingest"
	"darkroom/internal/event"
	"darkroom/internal/pixels/engine"
	"darkroom/internal/signedurl"
)

// contentFlags say which variants of images are served, and to whom.
type contentFlags struct {
	VariantProcesses int           `help:"Variants that are made at a time; one for each CPU if 0." default:"0"`
	VariantQueue     int           `help:"Requests for other variants that wait meanwhile; more are answered 503." default:"64"`
	VariantTimeout   time.Duration `help:"Longest that making a variant may take, once it is its turn." default:"30s"`
	VariantMaxPixels int64         `help:"Make no variants of images of more pixels." default:"100000000"`
	VariantMaxSide   int           `help:"Longest side of a variant, in pixels." default:"4096"`
	VariantSizes     []ingest.Size `help:"The only sizes of variants that are made: widths such as 800, boxes such as 300x200, heights such as x200. Any if empty, so that who may ask may fill the bucket." placeholder:"SIZE,…"`
	SigningKeys      string        `help:"File of the keys of signed URLs, ID:HEX on each line; all count, darkroom sign uses the first." default:"" placeholder:"FILE" type:"path"`
	RequireSignature bool          `help:"Send images to signed URLs only."`
}

// config puts the flags into the configuration of the upload service.
func (f contentFlags) config(cfg *ingest.Config, pixels engine.Choice) (err error) {
	v := &cfg.Variants
	v.Choice = pixels
	if f.VariantProcesses != 0 {
		v.Processes = f.VariantProcesses
	}
	v.Waiting, v.Timeout, v.Sizes = f.VariantQueue, f.VariantTimeout, f.VariantSizes
	v.MaxPixels, v.MaxSide = f.VariantMaxPixels, f.VariantMaxSide
	cfg.RequireSignature = f.RequireSignature
	if f.SigningKeys != "" {
		if cfg.Keys, err = signedurl.ReadKeys(f.SigningKeys); err != nil {
			return fmt.Errorf("--signing-keys: %w", err)
		}
	}
	return nil
}

// signCmd signs a URL.
type signCmd struct {
	URL         string        `arg:"" name:"url" help:"URL of an image's content, with its parameters."`
	Expires     time.Duration `help:"How long it will count." default:"1h"`
	Tenant      string        `help:"Whose image it is, unless the URL says so; a signed URL does without the header Darkroom-Tenant." placeholder:"NAME"`
	SigningKeys string        `help:"File of the keys, ID:HEX on each line; the first one signs." required:"" placeholder:"FILE" type:"path"`
}

// Help is the long help.
func (*signCmd) Help() string {
	return `It prints the URL with the parameters that 'darkroom ingest --signing-keys FILE' asks for. No parameter can be changed then.
To change keys, put the new one behind the old one in the file of every instance, then before it, then drop the old one.

  echo "k1:$(openssl rand -hex 32)" >signing.keys
  darkroom sign 'http://127.0.0.1:8080/v1/images/ID/content?w=400' --expires 24h --signing-keys signing.keys`
}

// Run prints the signed URL.
func (c *signCmd) Run(io stdio) error {
	keys, err := signedurl.ReadKeys(c.SigningKeys)
	if err != nil {
		return fmt.Errorf("--signing-keys: %w", err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("read URL: %w", err)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("read query of the URL: %w", err)
	}
	if c.Expires < time.Second {
		return fmt.Errorf("--expires %s: must be a second at least", c.Expires)
	}
	if !strings.HasSuffix(u.Path, "/content") { // an empty variable of a script, say: nothing is sent for a signature of that
		return fmt.Errorf("URL %q: must be that of an image's content, such as http://127.0.0.1:8080/v1/images/ID/content", c.URL)
	}
	if c.Tenant != "" && !query.Has("tenant") {
		query.Set("tenant", c.Tenant)
		u.RawQuery = query.Encode()
	}
	if t := query.Get("tenant"); query.Has("tenant") && !event.ValidTenant(t) {
		return fmt.Errorf("--tenant %q: must be lower-case letters, digits and inner hyphens", t)
	}
	fmt.Fprintln(io.out, keys.Sign(u, time.Now().Add(c.Expires)))
	return nil
}
