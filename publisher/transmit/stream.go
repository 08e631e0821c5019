package transmit

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// The delivery methods (SSF 1.0 section 6.1).
const (
	Push = "urn:ietf:rfc:8935"
	Poll = "urn:ietf:rfc:8936"
)

// Status is whether a stream is delivered (SSF 1.0 section 8.1.2).
type Status string

// A paused stream keeps what comes meanwhile, a disabled one does not.
const (
	Enabled  Status = "enabled"
	Paused   Status = "paused"
	Disabled Status = "disabled"
)

// TypeVerification is SSF's event by which a receiver sees that a stream works.
const TypeVerification = "https://schemas.openid.net/secevent/ssf/event-type/verification"

// Supported are the event types that receivers may ask for.
func Supported() []string {
	return []string{events.TypeSessionRevoked, events.TypeTokensRevoked, events.TypeLifted}
}

// Stream is what one receiver has asked for.
type Stream struct {
	ID string
	// Owner is the name of the caller who made it, Realms those that it is bound to;
	// nil means all. Events of other realms are not sent.
	Owner  string
	Realms []string
	// Audience is aud of what is sent.
	Audience string
	// Requested are the event types that the receiver asked for; nil means all that
	// it is given.
	Requested   []string
	Description string
	// Method is Push or Poll. Endpoint and Authorization are those of Push.
	Method, Endpoint, Authorization string
	Status                          Status
	Reason                          string

	feed *bus.Feed // where it was found
	made time.Time // by the server's clock
}

// Delivered are the event types that are sent: those supported and asked for. Who did
// not ask is sent CAEP's.
func (s *Stream) Delivered() []string {
	if s.Requested == nil {
		return []string{events.TypeSessionRevoked}
	}
	return slices.DeleteFunc(Supported(), func(uri string) bool { return !slices.Contains(s.Requested, uri) })
}

// wants tells whether the stream is to be sent the revocation.
func (s *Stream) wants(r *events.Revocation) bool {
	if !slices.Contains(s.Delivered(), r.Target.Kind.EventType()) {
		return false
	}
	// What spans all realms spans those of the receiver.
	return s.Realms == nil || r.Target.Realm == "" || slices.Contains(s.Realms, r.Target.Realm)
}

// The bounds of what a receiver may say.
const (
	maxRequested     = 64
	maxURI           = 512
	maxDescription   = 512
	maxAuthorization = 4096
	maxReason        = 512
)

// ErrInvalid is returned for a stream that makes no sense, with the reason.
var ErrInvalid = errors.New("stream is not valid")

func (s *Stream) validate() error {
	if len(s.Requested) > maxRequested || slices.ContainsFunc(s.Requested, func(uri string) bool { return uri == "" || len(uri) > maxURI }) {
		return fmt.Errorf("%w: events_requested: at most %d, of 1 to %d bytes each", ErrInvalid, maxRequested, maxURI)
	}
	if len(s.Description) > maxDescription || len(s.Reason) > maxReason {
		return fmt.Errorf("%w: description and reason: at most %d bytes", ErrInvalid, maxDescription)
	}
	if !slices.Contains([]Status{Enabled, Paused, Disabled}, s.Status) {
		return fmt.Errorf("%w: status must be enabled, paused or disabled", ErrInvalid)
	}
	switch s.Method {
	case Poll:
		if s.Endpoint != "" || s.Authorization != "" {
			return fmt.Errorf("%w: delivery: the transmitter names the endpoint of a stream that is polled", ErrInvalid)
		}
	case Push:
		if len(s.Authorization) > maxAuthorization || !isHeader(s.Authorization) {
			return fmt.Errorf("%w: delivery: authorization_header must be at most %d bytes of printable ASCII", ErrInvalid, maxAuthorization)
		}
	default:
		return fmt.Errorf("%w: delivery: method must be %s or %s", ErrInvalid, Push, Poll)
	}
	return nil
}

func isHeader(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newID makes a stream's id, which nobody can guess.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// kept is a stream as it stands with its feed. What it is confided is sealed.
type kept struct {
	Owner       string   `json:"owner"`
	Realms      []string `json:"realms,omitempty"`
	Audience    string   `json:"aud"`
	Requested   []string `json:"requested,omitempty"`
	Description string   `json:"description,omitempty"`
	Method      string   `json:"method"`
	Endpoint    string   `json:"endpoint,omitempty"`
	Sealed      string   `json:"sealed,omitempty"`
	Status      Status   `json:"status"`
	Reason      string   `json:"reason,omitempty"`
}

func (t *Transmitter) keep(s *Stream) (string, error) {
	b, err := json.Marshal(kept{s.Owner, s.Realms, s.Audience, s.Requested, s.Description, s.Method, s.Endpoint,
		t.cfg.Key.seal(s.Authorization, s.ID+" "+s.Endpoint), s.Status, s.Reason})
	return string(b), err
}

func (t *Transmitter) read(id, meta string) (*Stream, error) {
	var k kept
	if err := json.Unmarshal([]byte(meta), &k); err != nil {
		return nil, fmt.Errorf("stream %s: %w", id, err)
	}
	authorization, err := t.cfg.Key.unseal(k.Sealed, id+" "+k.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", id, err)
	}
	return &Stream{ID: id, Owner: k.Owner, Realms: k.Realms, Audience: k.Audience, Requested: k.Requested, Description: k.Description,
		Method: k.Method, Endpoint: k.Endpoint, Authorization: authorization, Status: k.Status, Reason: k.Reason}, nil
}

// minVerification is the least time between two verification events of a stream.
const minVerification = 10 * time.Second

// MinVerification is that in seconds, as SSF has it.
func MinVerification() int { return int(minVerification / time.Second) }
