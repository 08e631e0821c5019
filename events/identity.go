package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"strings"

	"github.com/google/uuid"
)

// Identity is what a token is known by on a denylist: a SHA-256 under a prefix
// of its own for each of the three ways to name a token. It is never a hash of
// the whole token: the signature part of a JWT can be rewritten by anyone
// without breaking it.
type Identity [sha256.Size]byte

// JTIIdentity is the identity of a JWT whose iss and jti are non-empty strings.
func JTIIdentity(issuer, jti string) Identity {
	return sum("rescind/1/jti", issuer, jti)
}

// SignedIdentity is the identity of a JWT without a usable jti: of the exact
// bytes that its signature protects, "header.payload".
func SignedIdentity(signed string) Identity { return sum("rescind/1/jws", signed) }

// OpaqueIdentity is the identity of a token that is not a JWT.
func OpaqueIdentity(raw string) Identity { return sum("rescind/1/opaque", raw) }

// String is the identity in base64url without padding, 43 characters.
func (id Identity) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// MarshalText encodes as String does.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText refuses all but the exact form that MarshalText gives.
func (id *Identity) UnmarshalText(text []byte) error {
	return decodeFixed(id[:], string(text), "identity")
}

// EventID identifies one event: a UUIDv7, which is the jti of its SET and the
// Nats-Msg-Id of its first publication.
type EventID [16]byte

// NewEventID makes one from the clock and the system's randomness.
func NewEventID() EventID { return EventID(uuid.Must(uuid.NewV7())) }

// String is the UUID in its usual 36 characters.
func (id EventID) String() string { return uuid.UUID(id).String() }

// IsZero tells whether the id was never set.
func (id EventID) IsZero() bool { return id == EventID{} }

// MarshalText encodes as String does.
func (id EventID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the canonical 36-character form only.
func (id *EventID) UnmarshalText(text []byte) error {
	parsed, err := ParseEventID(string(text))
	*id = parsed
	return err
}

// ParseEventID reads the canonical lower-case 36-character form. One spelling
// per id matters: the stream's duplicate window compares spellings.
func ParseEventID(s string) (EventID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return EventID{}, errors.New("event id: not a UUID in canonical form")
	}
	return EventID(u), nil
}

// Key is a 128-bit hash of an issuer, or of a claim's name and value. It is
// unkeyed, so that every agent of a fleet names the same claim alike.
type Key [16]byte

// ClaimKey is the key of a string claim.
func ClaimKey(name, value string) Key {
	s := sum("rescind/1/claim", name, value)
	return Key(s[:16])
}

// IssuerKey is the key of an issuer.
func IssuerKey(issuer string) Key {
	s := sum("rescind/1/iss", issuer)
	return Key(s[:16])
}

// sum hashes parts under a domain, each behind its length, so that no two lists
// of parts run together.
func sum(domain string, parts ...string) (out [sha256.Size]byte) {
	h := sha256.New()
	writePart(h, domain)
	for _, p := range parts {
		writePart(h, p)
	}
	h.Sum(out[:0])
	return out
}

func writePart(h hash.Hash, s string) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

func decodeFixed(dst []byte, s, what string) error {
	b, err := decodeB64(s)
	if err != nil || len(b) != len(dst) {
		return errors.New(what + ": not base64url of the right length")
	}
	copy(dst, b)
	return nil
}

// decodeB64 decodes strict base64url without padding. Go's decoder skips CR and
// LF even when strict, so they are refused first.
func decodeB64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
