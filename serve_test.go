package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darkroom/internal/signedurl"
)

func TestSignPrintsAURLThatCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("k1:"+strings.Repeat("0a", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := printed(t, "sign", "https://cdn/v1/images/ab/content?w=400", "--tenant", "acme", "--expires", "1h", "--signing-keys", file)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(strings.TrimSpace(out))
	if err != nil || u.Query().Get("tenant") != "acme" || u.Query().Get("w") != "400" {
		t.Fatalf("%s, %v", out, err)
	}
	keys, err := signedurl.ReadKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	if end, err := keys.Verify(u.Path, u.Query(), time.Now()); err != nil || time.Until(end) < 50*time.Minute {
		t.Errorf("%v, %v", end, err)
	}
	const content = "http://h/v1/images/ab/content"
	if out, err := printed(t, "sign", content+"?tenant=acme", "--tenant", "other", "--signing-keys", file); err != nil ||
		!strings.Contains(out, "tenant=acme") {
		t.Errorf("the URL says whose image it is: %s, %v", out, err)
	}
	for want, args := range map[string][]string{
		`URL "": must be that of an image's content`:                       {"sign", "", "--signing-keys", file},
		`URL "http://h/v1/images/ab": must be that of an `:                 {"sign", "http://h/v1/images/ab", "--signing-keys", file},
		`--tenant (DARKROOM_TENANT) "A b": must be lower-`:                 {"sign", content, "--tenant", "A b", "--signing-keys", file},
		"--signing-keys (DARKROOM_SIGNING_KEYS): read signing keys: open ": {"sign", "http://h/", "--signing-keys", "nowhere"},
		"--expires (DARKROOM_EXPIRES) 1ms: must be a second":               {"sign", "http://h/", "--signing-keys", file, "--expires", "1ms"},
		"read query of the URL: ":                                          {"sign", "http://h/?%zz", "--signing-keys", file},
		"--variant-sizes (DARKROOM_VARIANT_SIZES): \"1x\": must be":        {"ingest", "--ingest-listen", "127.0.0.1:0", "--variant-sizes", "800,1x"},
	} {
		if _, err := printed(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}
