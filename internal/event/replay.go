package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of a record that is a replay: the letter's id, and which of its replays this is, in decimal.
const (
	HeaderLetter = "darkroom-letter"
	HeaderReplay = "darkroom-replay"
)

// MaxReplays is how often a record can be replayed. A replay's row is newer than the event's by a microsecond for each,
// and must stay older than whatever happened to the image next.
const MaxReplays = 1000

// letterBytes is the length of a letter's id, which is written in lower-case hex.
const letterBytes = 16

// LetterID is the id of a dead letter that is known by something else than the place of its record.
func LetterID(known string) string {
	sum := sha256.Sum256([]byte(known))
	return hex.EncodeToString(sum[:letterBytes])
}

func validLetter(id string) bool {
	return len(id) == 2*letterBytes && strings.Trim(id, "0123456789abcdef") == ""
}

// ParseReplay reads the headers of a replay: the letter's id, and n from 1 to MaxReplays.
func ParseReplay(letter, replay string) (n int64, err error) {
	if !validLetter(letter) {
		return 0, fmt.Errorf("%s: %.100q is no id of a letter", HeaderLetter, letter)
	}
	n, err = strconv.ParseInt(replay, 10, 64)
	if err != nil || n < 1 || n > MaxReplays {
		return 0, fmt.Errorf("%s: %.100q is no number from 1 to %d", HeaderReplay, replay, MaxReplays)
	}
	return n, nil
}

// Replayed is a note on images.rejected: the letter of this id has been replayed so many times.
type Replayed struct {
	ID      string    `json:"-"`
	Time    time.Time `json:"-"`
	Replays int64     `json:"replays"`
}

// Encode returns the note's value; its key is the letter's.
func (r Replayed) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode note of replay: %w", err)
	}
	value, err := json.Marshal(envelope{
		SpecVersion: specVersion, ID: r.ID, Source: "/darkroom/deadletter", Type: TypeReplayed,
		Time: r.Time.UTC(), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("encode note of replay: %w", err)
	}
	return value, nil
}

// DecodeReplayed reads a note.
func DecodeReplayed(value []byte) (Replayed, error) {
	var r Replayed
	id, err := decodeData(value, TypeReplayed, &r)
	if err == nil && (r.Replays < 1 || r.Replays > MaxReplays) {
		err = errors.New("no possible number of replays")
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("decode note of replay: %w", err)
	}
	r.ID = id
	return r, nil
}

// TypeOf returns the type of an event on Kafka, empty if it has none.
func TypeOf(value []byte) (string, error) {
	var env struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(value, &env); err != nil {
		return "", fmt.Errorf("decode event: %w", err)
	}
	return env.Type, nil
}
