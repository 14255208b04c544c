// Package signedurl signs URLs, so that whoever has one may fetch what it names until it expires, and nothing else.
//
// A signed URL has three query parameters more: expires (seconds since 1970), key (the id of a key) and signature: the
// unpadded base64url of the HMAC-SHA256, under that key, of three lines:
//
//	darkroom-url-v1
//	the path, as it is escaped in the URL
//	the query without signature, its parameters ordered by name and escaped as HTML forms are
//
// The last line has no end of line. Host and scheme are not signed: a proxy may change them.
package signedurl

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parameters that signing adds.
const (
	ParamExpires   = "expires"
	ParamKey       = "key"
	ParamSignature = "signature"
)

var (
	// ErrMissing says that a URL is not signed.
	ErrMissing = errors.New("the URL is not signed")
	// ErrInvalid says that a URL was altered after it was signed, or signed with a key that is not known.
	ErrInvalid = errors.New("the signature is not that of this URL")
	// ErrExpired says that a URL, which is as it was signed, has had its time.
	ErrExpired = errors.New("the signed URL has expired")
)

// minSecret is the fewest bytes of a secret: half of the hash's, below which a key and not the hash is what is guessed.
const minSecret = 16

var keyID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// Key is a secret and the name by which URLs refer to it.
type Key struct {
	ID     string
	Secret []byte
}

// Keys are the keys that count. The first one signs.
type Keys []Key

// ReadKeys reads keys from a file; see ParseKeys.
func ReadKeys(path string) (Keys, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	keys, err := ParseKeys(string(data))
	if err != nil {
		return nil, fmt.Errorf("read signing keys %s: %w", path, err)
	}
	return keys, nil
}

// ParseKeys reads keys, one a line as ID:HEX. Empty lines and those that begin with # are passed over. An error names the
// line, and nothing of what is in it.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		id, secret, _ := strings.Cut(line, ":")
		b, err := hex.DecodeString(secret)
		switch {
		case !keyID.MatchString(id):
			return nil, fmt.Errorf("line %d: must be ID:HEX, with an id of 1 to 32 letters, digits, '-' and '_'", n)
		case err != nil || len(b) < minSecret:
			return nil, fmt.Errorf("line %d: the secret must be at least %d hexadecimal digits", n, 2*minSecret)
		case keys.find(id) != nil:
			return nil, fmt.Errorf("line %d: there are two keys of this id", n)
		}
		keys = append(keys, Key{id, b})
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return keys, nil
}

func (k Keys) find(id string) *Key {
	if i := slices.IndexFunc(k, func(k Key) bool { return k.ID == id }); i >= 0 {
		return &k[i]
	}
	return nil
}

// Sign returns the URL, signed with the first key. A signature that it has is replaced.
func (k Keys) Sign(u *url.URL, expires time.Time) *url.URL {
	query := u.Query()
	query.Set(ParamExpires, strconv.FormatInt(expires.Unix(), 10))
	query.Set(ParamKey, k[0].ID)
	query.Set(ParamSignature, k[0].sign(u.EscapedPath(), query))
	signed := *u
	signed.RawQuery = query.Encode()
	return &signed
}

// Verify returns when a URL expires. ErrMissing, ErrInvalid, ErrExpired.
func (k Keys) Verify(escapedPath string, query url.Values, now time.Time) (expires time.Time, err error) {
	if !query.Has(ParamSignature) {
		return time.Time{}, ErrMissing
	}
	key := k.find(query.Get(ParamKey))
	if key == nil || !hmac.Equal([]byte(key.sign(escapedPath, query)), []byte(query.Get(ParamSignature))) {
		return time.Time{}, ErrInvalid
	}
	seconds, err := strconv.ParseInt(query.Get(ParamExpires), 10, 64)
	if err != nil {
		return time.Time{}, ErrInvalid
	}
	if expires = time.Unix(seconds, 0); !now.Before(expires) {
		return expires, ErrExpired
	}
	return expires, nil
}

func (k Key) sign(escapedPath string, query url.Values) string {
	unsigned := url.Values{}
	for name, values := range query {
		if name != ParamSignature {
			unsigned[name] = values
		}
	}
	mac := hmac.New(sha256.New, k.Secret)
	mac.Write([]byte("darkroom-url-v1\n" + escapedPath + "\n" + unsigned.Encode()))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
