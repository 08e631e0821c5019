package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

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
func (id Identity) String() string { return string(appendEncoded(nil, id[:])) }

// MarshalText encodes as String does.
func (id Identity) MarshalText() ([]byte, error) { return appendEncoded(nil, id[:]), nil }

// UnmarshalText refuses all but the exact form that MarshalText gives.
func (id *Identity) UnmarshalText(text []byte) error {
	if !decodeInto(id[:], text) {
		return errors.New("identity: not base64url of the right length")
	}
	return nil
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
func (id EventID) MarshalText() ([]byte, error) { return id.append(nil), nil }

func (id EventID) append(b []byte) []byte {
	b = slices.Grow(b, 36)
	b = hex.AppendEncode(b, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		b = append(b, '-')
		b = hex.AppendEncode(b, part)
	}
	return b
}

// UnmarshalText reads the canonical 36-character form only, as ParseEventID does.
func (id *EventID) UnmarshalText(text []byte) error {
	u, err := uuid.ParseBytes(text)
	var canonical [36]byte
	if err != nil || string(EventID(u).append(canonical[:0])) != string(text) {
		return errors.New("event id: not a UUID in canonical form")
	}
	*id = EventID(u)
	return nil
}

// ParseEventID reads the canonical lower-case 36-character form. One spelling
// per id matters: the stream's duplicate window compares spellings.
func ParseEventID(s string) (id EventID, err error) {
	err = id.UnmarshalText([]byte(s))
	return id, err
}

// Key is a 128-bit hash of an issuer, or of a claim's name and value. It is
// unkeyed, so that every agent of a fleet names the same claim alike.
type Key [16]byte

// ClaimKey is the key of a string claim.
func ClaimKey(name, value string) Key { return claimKey(name, value) }

func claimKey[T ~string | ~[]byte](name, value T) Key {
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
func sum[T ~string | ~[]byte](domain string, parts ...T) [sha256.Size]byte {
	// Most parts fit here, and need no memory of their own.
	var room [256]byte
	b := appendPart(room[:0], domain)
	for _, p := range parts {
		b = appendPart(b, p)
	}
	return sha256.Sum256(b)
}

func appendPart[T ~string | ~[]byte](b []byte, part T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}
