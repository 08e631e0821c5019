package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The typ values (RFC 7515 section 4.1.9) of what a publisher signs. A message
// is read under its own type only.
const (
	typeEvent   = "secevent+jwt"
	typeBeacon  = "rescind-beacon+jwt"
	typeQuery   = "rescind-query+jwt"
	typeReceipt = "rescind-receipt+jwt"
)

// Why a signed message was not taken. A message that may be a real revocation
// which this reader cannot understand yet (ErrUnknownKey, ErrUnsupported) is
// parked and tried again; all else is rejected for good. See Parkable.
var (
	// ErrMalformed is returned for what is not a well-formed message of its type.
	ErrMalformed = errors.New("malformed message")
	// ErrSignature is returned when the signature does not verify.
	ErrSignature = errors.New("bad signature")
	// ErrUnknownKey is returned when the key set does not have the message's key.
	ErrUnknownKey = errors.New("unknown key")
	// ErrAudience is returned for a message to another fleet.
	ErrAudience = errors.New("wrong audience")
	// ErrKeyBounds is returned when the key may not sign for this publisher or
	// for this kind of event.
	ErrKeyBounds = errors.New("key used outside its bounds")
	// ErrUnsupported is returned for a signed event of a version, type, kind or
	// critical member that this reader does not know.
	ErrUnsupported = errors.New("event not understood")
)

// Parkable tells whether a message refused with err may become readable later,
// with a newer key set or a newer program.
func Parkable(err error) bool {
	return errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrUnsupported)
}

// Reason gives a short stable name to the reason of a refusal, for metrics and
// reports: malformed, signature, unknown_key, audience, key_bounds, unsupported.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrSignature):
		return "signature"
	case errors.Is(err, ErrUnknownKey):
		return "unknown_key"
	case errors.Is(err, ErrAudience):
		return "audience"
	case errors.Is(err, ErrKeyBounds):
		return "key_bounds"
	case errors.Is(err, ErrUnsupported):
		return "unsupported"
	default:
		return "malformed"
	}
}

type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// sign makes a compact JWS (RFC 7515 section 3.1) of claims under typ.
func (s *Signer) sign(typ string, claims any) ([]byte, error) {
	h, err := json.Marshal(header{"EdDSA", s.kid, typ})
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encoding claims: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig, err := jwt.SigningMethodEdDSA.Sign(signed, s.private())
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	raw := []byte(signed + "." + base64.RawURLEncoding.EncodeToString(sig))
	if limit := maxBytes(typ); len(raw) > limit {
		return nil, fmt.Errorf("%s is %d bytes long, more than %d", typ, len(raw), limit)
	}
	return raw, nil
}

func maxBytes(typ string) int {
	if typ == typeReceipt {
		return MaxReceiptBytes
	}
	return MaxEventBytes
}

// open verifies a compact JWS of the given typ and gives its payload and the key
// that signed it. The algorithm is fixed (RFC 8725 section 3.1): a header that
// names another is malformed.
func (k *KeySet) open(typ string, raw []byte) ([]byte, *PublicKey, error) {
	if limit := maxBytes(typ); len(raw) > limit {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, limit)
	}
	parts := strings.SplitN(string(raw), ".", 4)
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	h, err := parseSignedHeader(parts[0])
	if err != nil {
		return nil, nil, err
	}
	if h.Alg != "EdDSA" || h.Typ != typ || h.Kid == "" {
		return nil, nil, fmt.Errorf("%w: header is not that of a %s signed with EdDSA", ErrMalformed, typ)
	}
	sig, err := decodeB64(parts[2])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	payload, err := decodeB64(parts[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	key, ok := k.keys[h.Kid]
	if !ok {
		return nil, nil, ErrUnknownKey
	}
	signed := raw[:len(parts[0])+1+len(parts[1])]
	if jwt.SigningMethodEdDSA.Verify(string(signed), sig, key.Public) != nil {
		return nil, nil, ErrSignature
	}
	return payload, key, nil
}

func parseSignedHeader(part string) (header, error) {
	b, err := decodeB64(part)
	if err != nil {
		return header{}, fmt.Errorf("%w: header is not base64url", ErrMalformed)
	}
	o, err := parseObject(b)
	if err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if o.has("crit") || o.has("b64") {
		return header{}, fmt.Errorf("%w: header has crit or b64", ErrMalformed)
	}
	var h header
	var errs [3]error
	h.Alg, errs[0] = o.str("alg")
	h.Kid, errs[1] = o.str("kid")
	h.Typ, errs[2] = o.str("typ")
	if err := errors.Join(errs[:]...); err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	return h, nil
}

// claimsOf are the registered claims that every message but an event carries.
type claimsOf[T any] struct {
	Issuer   string `json:"iss"`
	Audience Fleet  `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Body     T      `json:"rescind"`
}

// openMessage verifies a beacon, query or receipt and decodes its body. The
// origin that the body names must be the publisher to which the key is bound.
func openMessage[T any](k *KeySet, typ string, fleet Fleet, raw []byte, origin func(*T) Origin) (*claimsOf[T], *PublicKey, error) {
	payload, key, err := k.open(typ, raw)
	if err != nil {
		return nil, nil, err
	}
	var c claimsOf[T]
	if err := decodeObject(payload, &c); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Audience != fleet {
		return nil, nil, ErrAudience
	}
	o := origin(&c.Body)
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if o.Publisher != key.Publisher {
		return nil, nil, ErrKeyBounds
	}
	return &c, key, nil
}
