package signedurl_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"darkroom/internal/signedurl"
)

var (
	secret = []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" +
		"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f")
	keys = signedurl.Keys{{ID: "k1", Secret: secret}, {ID: "k2", Secret: bytes.Repeat([]byte{7}, 16)}}
	end  = time.Unix(1_800_000_000, 0)
)

// The signature was made by Python's hmac module.
const signed = "http://h:1/v1/images/5f0c6a0f3a2d4e9db6b0a3b1c2d4e5f6/content?expires=1800000000&format=auto&key=k1" +
	"&signature=R9Jhf60fgXT650iazpFcme2fvfAbrqLcDwemAmr1tF4&tenant=acme&w=400"

func parse(t interface{ Fatal(...any) }, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func verify(k signedurl.Keys, u *url.URL, now time.Time) error {
	_, err := k.Verify(u.EscapedPath(), u.Query(), now)
	return err
}

func TestKnownSignature(t *testing.T) {
	u := parse(t, "http://h:1/v1/images/5f0c6a0f3a2d4e9db6b0a3b1c2d4e5f6/content?w=400&tenant=acme&format=auto&signature=old")
	if got := keys.Sign(u, end).String(); got != signed {
		t.Errorf("%s\nwant %s", got, signed)
	}
	if err := verify(keys, parse(t, signed), end.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := verify(keys, parse(t, signed), end); !errors.Is(err, signedurl.ErrExpired) {
		t.Error(err)
	}
	if err := verify(nil, parse(t, signed), time.Time{}); !errors.Is(err, signedurl.ErrInvalid) {
		t.Error(err)
	}
	if err := verify(keys, u, time.Time{}); !errors.Is(err, signedurl.ErrInvalid) {
		t.Error(err)
	}
	if err := verify(keys, parse(t, "/a?w=1"), time.Time{}); !errors.Is(err, signedurl.ErrMissing) {
		t.Error(err)
	}
}

func TestAllKeysCountAndTheFirstSigns(t *testing.T) {
	u := parse(t, "/a?w=1")
	old, young := keys, signedurl.Keys{keys[1], keys[0]}
	for _, now := range []signedurl.Keys{old, young} {
		if err := verify(now, old.Sign(u, end), time.Time{}); err != nil {
			t.Error(err)
		}
		if err := verify(now, young.Sign(u, end), time.Time{}); err != nil {
			t.Error(err)
		}
	}
	if err := verify(young[:1], old.Sign(u, end), time.Time{}); !errors.Is(err, signedurl.ErrInvalid) {
		t.Errorf("a key that was dropped counts: %v", err)
	}
}

func TestAnyChangeInvalidates(t *testing.T) {
	word := rapid.StringMatching(`[ -~é]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		query := url.Values(rapid.MapOf(rapid.StringMatching(`[a-z]{1,3}`), rapid.SliceOfN(word, 1, 2)).Draw(t, "query"))
		path := "/" + url.PathEscape(word.Draw(t, "path"))
		u := keys.Sign(parse(t, "http://h"+path+"?"+query.Encode()), end)
		if err := verify(keys, u, time.Time{}); err != nil {
			t.Fatal(err)
		}
		query = u.Query()
		all := make([]string, 0, len(query))
		for name := range query {
			all = append(all, name)
		}
		name := rapid.SampledFrom(all).Draw(t, "parameter")
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			query[name] = append(query[name], word.Draw(t, "more"))
		case 1:
			query[name] = []string{query.Get(name) + rapid.StringN(1, 3, -1).Draw(t, "suffix")}
		case 2:
			delete(query, name)
		case 3:
			query[name+"x"] = []string{"1"}
		case 4:
			path += "x"
		}
		if name == signedurl.ParamSignature && len(query[name]) == 2 {
			return // the second one is not looked at, and the service refuses what is given twice
		}
		if _, err := keys.Verify(path, query, time.Time{}); err == nil {
			t.Fatalf("%s?%s counts", path, query.Encode())
		}
	})
}

func TestKeysAreRead(t *testing.T) {
	hex32 := strings.Repeat("0a", 16)
	got, err := signedurl.ParseKeys("# two\n\nnew:" + hex32 + "\r\n  old-1:" + strings.Repeat("FF", 32) + "\n")
	if err != nil || len(got) != 2 || got[0].ID != "new" || len(got[0].Secret) != 16 || got[1].ID != "old-1" || len(got[1].Secret) != 32 {
		t.Errorf("%d keys, %v", len(got), err)
	}
	for text, want := range map[string]string{
		"":                                "there is no key",
		"# none":                          "there is no key",
		"a:" + hex32 + "\n:" + hex32:      "line 2: must be ID:HEX",
		"a b:" + hex32:                    "line 1: must be ID:HEX",
		"a":                               "line 1: the secret must be",
		"a:0a":                            "line 1: the secret must be at least 32",
		"a:" + strings.Repeat("xy", 16):   "line 1: the secret must be",
		"a:" + hex32 + "\n\na:" + hex32:   "line 3: there are two keys",
		"a:" + hex32 + ":" + hex32 + "\n": "line 1: the secret must be",
	} {
		_, err := signedurl.ParseKeys(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hex32) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := signedurl.ReadKeys(t.TempDir() + "/none"); err == nil {
		t.Error("a file that is not there is read")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("/v1/images/5f0c6a0f3a2d4e9db6b0a3b1c2d4e5f6/content", signed[strings.Index(signed, "?")+1:])
	f.Add("/", "signature=&key=k1&expires=x")
	f.Fuzz(func(t *testing.T, path, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if _, err := keys.Verify(path, query, time.Time{}); err == nil {
			mac := query.Get(signedurl.ParamSignature)
			if b, err := base64.RawURLEncoding.DecodeString(mac); err != nil || len(b) != 32 {
				t.Fatalf("%q is a signature", mac)
			}
		}
	})
}

func ExampleKeys_Sign() {
	u, _ := url.Parse("http://127.0.0.1:8080/v1/images/ID/content?w=400")
	signed := keys.Sign(u, time.Unix(1_800_000_000, 0))
	fmt.Println(signed.Query().Get("key"), signed.Query().Get("expires"), len(signed.Query().Get("signature")))
	// Output: k1 1800000000 43
}
