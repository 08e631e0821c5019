package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rescind/rescind/events"
)

// Type says what a line records.
type Type string

// The types of a line. Rejected is a message that did not verify when it was
// read; what it claims to be is not told.
const (
	TypeRevocation Type = "revocation"
	TypeLift       Type = "lift"
	TypeReceipt    Type = "receipt"
	TypeRefusal    Type = "refusal"
	TypeRejected   Type = "rejected"
)

// Hash is the SHA-256 of a line's bytes, its line feed included.
type Hash [sha256.Size]byte

// String is the hash in 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText encodes as String does.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText refuses all but 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(h[:], text[:min(len(text), 2*len(h))]); err != nil || n != len(h) || len(text) != 2*n {
		return errors.New("hash: not 64 hexadecimal digits")
	}
	return nil
}

// Line is one line of an audit file. A member whose value is zero is left out,
// except for those that stand on every line of their type.
type Line struct {
	// Line is its number, from 1. It is 0, and Prev is zero, for what Tail gives.
	Line int64 `json:"line"`
	// Seq and Time are the audit stream's. They are not signed by a publisher.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Type Type      `json:"type"`
	// ID is the event's id, the request's for a receipt, a refusal's own; Txn the
	// request's.
	ID  events.EventID `json:"id"`
	Txn events.EventID `json:"txn"`
	// Publisher, Incarnation and Counter are the message's origin; Stream is what
	// Counter counts on, by the signed content.
	Publisher   string         `json:"publisher"`
	Incarnation events.EventID `json:"incarnation"`
	Counter     uint64         `json:"counter"`
	Stream      events.Stream  `json:"stream"`
	// Kind and Target say what is revoked, or was to be, Target in words. Texts of more than
	// 2,048 bytes are cut; Raw has them whole.
	Kind      events.Kind      `json:"kind"`
	Target    string           `json:"target"`
	Realm     string           `json:"realm"`
	Reason    string           `json:"reason"`
	Initiator events.Initiator `json:"initiating_entity"`
	// NotBefore is the cutoff, Expires the event's end, in Unix seconds.
	NotBefore int64 `json:"not_before"`
	Expires   int64 `json:"expires"`
	// Caller and Door are a receipt's or a refusal's; the counts a receipt's.
	Caller string `json:"caller"`
	Door   string `json:"door"`
	*Counts
	// Error names why a request was refused, Detail says it in words, Remote is where
	// it came from, and Requests how many alike were refused from Since, in Unix
	// milliseconds, until the line's time.
	Error    string `json:"error"`
	Detail   string `json:"detail"`
	Remote   string `json:"remote"`
	Requests int    `json:"requests"`
	Since    int64  `json:"since"`
	// Verified tells that the signature and the content held when it was read;
	// otherwise Problem is one of the names of events.Reason.
	Verified bool   `json:"verified"`
	Problem  string `json:"problem"`
	// Raw is the signed message. What is not an event, a receipt or a refusal by its
	// header, and so could be anything, is known by its length and its SHA-256 instead.
	Raw       string `json:"raw"`
	RawBytes  int    `json:"raw_bytes"`
	RawSHA256 *Hash  `json:"raw_sha256"`
	// Prev is the hash of the line before; zero on the first line.
	Prev Hash `json:"prev"`
}

// Counts are a receipt's numbers.
type Counts struct {
	Invalidated int  `json:"invalidated_tokens"`
	Previously  int  `json:"previously_invalidated_tokens"`
	AtLeast     bool `json:"at_least"`
	// Expected and Applied count agents, Errors those that failed or were silent.
	Expected int  `json:"expected"`
	Applied  int  `json:"applied"`
	Errors   int  `json:"errors"`
	Complete bool `json:"complete"`
}

const timeFormat = "2006-01-02T15:04:05.000Z"

// member is a name with its encoded value.
type member struct{ name, value string }

// members are the line's in their order. The encoding is our own, because a line
// must have the same bytes whatever encoder a later Go brings.
func (l *Line) members() []member {
	m := make([]member, 0, 32)
	add := func(name, value string, present bool) {
		if present {
			m = append(m, member{name, value})
		}
	}
	text := func(name, value string) { add(name, quote(value), value != "") }
	id := func(name string, v events.EventID) { add(name, quote(v.String()), !v.IsZero()) }
	number := func(name string, v int64) { add(name, strconv.FormatInt(v, 10), v != 0) }

	number("line", l.Line)
	add("seq", strconv.FormatUint(l.Seq, 10), true)
	add("time", quote(l.Time.UTC().Format(timeFormat)), true)
	text("type", string(l.Type))
	id("id", l.ID)
	id("txn", l.Txn)
	text("publisher", l.Publisher)
	id("incarnation", l.Incarnation)
	add("counter", strconv.FormatUint(l.Counter, 10), l.Counter != 0)
	text("stream", string(l.Stream))
	text("kind", string(l.Kind))
	text("target", l.Target)
	text("realm", l.Realm)
	text("reason", l.Reason)
	text("initiating_entity", string(l.Initiator))
	number("not_before", l.NotBefore)
	number("expires", l.Expires)
	text("caller", l.Caller)
	text("door", l.Door)
	if c := l.Counts; c != nil {
		add("invalidated_tokens", strconv.Itoa(c.Invalidated), true)
		add("previously_invalidated_tokens", strconv.Itoa(c.Previously), true)
		add("at_least", "true", c.AtLeast)
		add("expected", strconv.Itoa(c.Expected), true)
		add("applied", strconv.Itoa(c.Applied), true)
		add("errors", strconv.Itoa(c.Errors), true)
		add("complete", strconv.FormatBool(c.Complete), true)
	}
	text("error", l.Error)
	text("detail", l.Detail)
	text("remote", l.Remote)
	number("requests", int64(l.Requests))
	number("since", l.Since)
	add("verified", strconv.FormatBool(l.Verified), true)
	text("problem", l.Problem)
	text("raw", l.Raw)
	number("raw_bytes", int64(l.RawBytes))
	if l.RawSHA256 != nil {
		text("raw_sha256", l.RawSHA256.String())
	}
	add("prev", quote(l.Prev.String()), l.Line != 0)
	return m
}

// MarshalJSON gives the line as it stands in a file, without its line feed.
func (l *Line) MarshalJSON() ([]byte, error) { return bytes.TrimSuffix(l.encode(), []byte("\n")), nil }

// encode gives the line's bytes, with its line feed.
func (l *Line) encode() []byte {
	b := make([]byte, 0, len(l.Raw)+1024)
	sep := byte('{')
	for _, m := range l.members() {
		b = append(b, sep, '"')
		b = append(b, m.name...)
		b = append(b, '"', ':')
		b = append(b, m.value...)
		sep = ','
	}
	return append(b, '}', '\n')
}

// quote gives a JSON string. What a terminal or an editor could take for more
// than text is escaped.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, string(r)...)
		}
	}
	return string(append(b, '"'))
}

// parseLine reads the bytes of a line, which must be exactly those that encode
// gives for what they say: so no member stands there twice, under another
// spelling, or beside those that are checked.
func parseLine(b []byte) (*Line, error) {
	l := new(Line)
	if !bytes.HasSuffix(b, []byte("\n")) {
		return nil, errors.New("it does not end with a line feed")
	}
	if json.Unmarshal(b, l) != nil {
		return nil, errors.New("it is not a line of an audit file")
	}
	if l.Line <= 0 || !bytes.Equal(l.encode(), b) {
		return nil, errors.New("it is not written as a line of an audit file is")
	}
	return l, nil
}

// String describes the line to people, on one line without its number: control
// characters in what callers wrote show as U+FFFD.
func (l *Line) String() string {
	parts := []string{l.Time.UTC().Format(timeFormat), string(l.Type)}
	add := func(format string, present bool, args ...any) {
		if present {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add("%s (%d bytes)", l.Type == TypeRejected, l.Problem, max(l.RawBytes, len(l.Raw)))
	add("%s", l.Target != "", l.Target)
	if c := l.Counts; c != nil {
		more := ""
		if c.AtLeast {
			more = "at least "
		}
		add("%s%d invalidated, %d before", true, more, c.Invalidated, c.Previously)
		add("%d of %d agents", true, c.Applied, c.Expected)
		add("%d errors", c.Errors > 0, c.Errors)
	}
	add("%s: %s", l.Error != "", l.Error, l.Detail)
	add("%d requests", l.Requests > 1, l.Requests)
	add("by %s", l.Initiator != "", l.Initiator)
	add("by %s", l.Caller != "", l.Caller)
	add("from %s", l.Remote != "", l.Remote)
	add("through %s", l.Door != "", l.Door)
	add("%q", l.Reason != "", l.Reason)
	add("%s/%s/%d", l.Counter != 0, l.Publisher, l.Stream, l.Counter)
	add("%s", !l.ID.IsZero(), l.ID)
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.Join(parts, "  "))
}
