package e2e_test

import (
	"bytes"
	"image"
	_ "image/jpeg"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fetch sends a GET with headers, which are pairs.
func fetch(t *testing.T, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// TestAPhotographIsServedInAnySize asks for variants as a page does, over a stop and a start.
func TestAPhotographIsServedInAnySize(t *testing.T) {
	data, keys := t.TempDir(), filepath.Join(t.TempDir(), "signing.keys")
	if err := os.WriteFile(keys, []byte("k1:"+strings.Repeat("5a", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := up(t, data, "--signing-keys", keys)
	photo, err := os.ReadFile("../testdata/photos/sunset.jpg")
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.upload(photo, "")
	if err != nil || img.status != http.StatusCreated {
		t.Fatal(img, err)
	}
	content := "/v1/images/" + img.ID + "/content?w=400"
	first, body := fetch(t, p.ingest+content+"&format=jpeg")
	if c, format, err := image.DecodeConfig(bytes.NewReader(body)); err != nil || format != "jpeg" || c.Width != 400 || c.Height != 267 {
		t.Fatalf("%s of %d×%d, %v: %s", format, c.Width, c.Height, err, first.Status)
	}
	count := func(result string, n string) {
		t.Helper()
		_, metrics := fetch(t, p.ingest+"/metrics")
		if want := `darkroom_ingest_variants_total{result="` + result + `"} ` + n + "\n"; !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	same := func() {
		t.Helper()
		again, sent := fetch(t, p.ingest+content+"&format=jpeg")
		if !bytes.Equal(sent, body) || again.Header.Get("ETag") != first.Header.Get("ETag") {
			t.Errorf("another variant: %s %v", again.Status, again.Header)
		}
	}
	same()
	count("made", "1")
	count("stored", "1")
	if auto, _ := fetch(t, p.ingest+content+"&format=auto", "Accept", "image/webp,*/*"); auto.Header.Get("Content-Type") != "image/webp" ||
		auto.Header.Get("Vary") != "Accept" {
		t.Errorf("auto: %s %v", auto.Status, auto.Header)
	}
	signed, err := command(t, "sign", p.ingest+content, "--signing-keys", keys).Output()
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(string(signed))
	if res, _ := fetch(t, url); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Cache-Control"), "public, max-age=") {
		t.Errorf("signed: %s %v", res.Status, res.Header)
	}
	if res, _ := fetch(t, strings.Replace(url, "w=400", "w=401", 1)); res.StatusCode != http.StatusForbidden {
		t.Errorf("altered: %s", res.Status)
	}

	p.stop()
	p = up(t, data, "--require-signature", "--signing-keys", keys)
	if res, _ := fetch(t, p.ingest+content); res.StatusCode != http.StatusForbidden {
		t.Errorf("not signed: %s", res.Status)
	}
	p.stop()
	p = up(t, data)
	same()
	count("made", "0")
	p.stop()
}
