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
	for want, args := range map[string][]string{
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
