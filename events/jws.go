package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// The typ values (RFC 7515 section 4.1.9) of what a publisher signs. A message
// is read under its own type only.
const (
	typeEvent   = "secevent+jwt"
	typeBeacon  = "rescind-beacon+jwt"
	typeQuery   = "rescind-query+jwt"
	typeReceipt = "rescind-receipt+jwt"
	typeRefusal = "rescind-refusal+jwt"
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

// header has the members of a JWS header that are read.
type header struct{ alg, kid, typ string }

// appendHeader writes the header of what the key signs under typ.
func appendHeader(b []byte, typ, kid string) []byte {
	w := writer{append(b, '{')}
	w.str("alg", "EdDSA")
	w.str("kid", kid)
	w.str("typ", typ)
	w.end()
	return w.text
}

// sign makes a compact JWS (RFC 7515 section 3.1) of a payload under typ.
func (s *Signer) sign(typ string, payload []byte) ([]byte, error) {
	b64 := base64.RawURLEncoding
	h := appendHeader(make([]byte, 0, 128), typ, s.kid)
	length := b64.EncodedLen(len(h)) + b64.EncodedLen(len(payload)) + b64.EncodedLen(ed25519.SignatureSize) + 2
	if limit := maxBytes(typ); length > limit {
		return nil, fmt.Errorf("%s is %d bytes long, more than %d", typ, length, limit)
	}
	raw := appendEncoded(make([]byte, 0, length), h)
	raw = append(raw, '.')
	raw = appendEncoded(raw, payload)
	sig := ed25519.Sign(s.private(), raw)
	raw = append(raw, '.')
	return appendEncoded(raw, sig), nil
}

func maxBytes(typ string) int {
	if typ == typeReceipt {
		return MaxReceiptBytes
	}
	return MaxEventBytes
}

// open verifies a compact JWS of the given typ and gives its payload, which
// stands in d, and the key that signed it. The algorithm is fixed (RFC 8725
// section 3.1): a header that names another is malformed.
func (k *KeySet) open(d *document, typ string, raw []byte) ([]byte, *PublicKey, error) {
	if limit := maxBytes(typ); len(raw) > limit {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, limit)
	}
	head, rest, _ := bytes.Cut(raw, []byte{'.'})
	body, tail, ok := bytes.Cut(rest, []byte{'.'})
	if !ok || bytes.IndexByte(tail, '.') >= 0 {
		return nil, nil, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	kid, err := k.readHeader(d, typ, head)
	if err != nil {
		return nil, nil, err
	}
	var room [ed25519.SignatureSize]byte
	sig, err := appendDecoded(room[:0], tail)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	payload, err := decodeText(d, body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	key, ok := k.keys[kid]
	if !ok {
		return nil, nil, ErrUnknownKey
	}
	signed := raw[:len(head)+1+len(body)]
	if len(key.Public) != ed25519.PublicKeySize || !ed25519.Verify(key.Public, signed, sig) {
		return nil, nil, ErrSignature
	}
	return payload, key, nil
}

// readHeader gives the kid of a message that is signed with EdDSA under typ.
func (k *KeySet) readHeader(d *document, typ string, part []byte) (kid string, err error) {
	h, ok := k.headers[string(part)]
	if !ok {
		if h, err = parseHeader(d, part); err != nil {
			return "", err
		}
	}
	if h.alg != "EdDSA" || h.typ != typ || h.kid == "" {
		return "", fmt.Errorf("%w: header is not that of a %s signed with EdDSA", ErrMalformed, typ)
	}
	return h.kid, nil
}

func parseHeader(d *document, part []byte) (header, error) {
	b, err := decodeText(d, part)
	if err != nil {
		return header{}, fmt.Errorf("%w: header is not base64url", ErrMalformed)
	}
	o, err := d.scan(b)
	if err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if o.has("crit") || o.has("b64") {
		return header{}, fmt.Errorf("%w: header has crit or b64", ErrMalformed)
	}
	var h header
	var errs [3]error
	h.alg, errs[0] = o.str("alg")
	h.kid, errs[1] = o.str("kid")
	h.typ, errs[2] = o.str("typ")
	if err := errors.Join(errs[:]...); err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	return h, nil
}

// knownHeaders gives the headers that the key's Signer writes, by their text in a
// message. What they say is read here as from any message, and only once.
func knownHeaders(kid string) map[string]header {
	known := map[string]header{}
	d := newDocument()
	defer d.release()
	for _, typ := range []string{typeEvent, typeBeacon, typeQuery, typeReceipt, typeRefusal} {
		text := appendEncoded(nil, appendHeader(nil, typ, kid))
		if h, err := parseHeader(d, text); err == nil {
			known[string(text)] = h
		}
	}
	return known
}

// claims are the registered claims that every message but an event carries.
type claims struct {
	Issuer   string      `json:"iss"`
	Audience Fleet       `json:"aud"`
	IssuedAt int64       `json:"iat"`
	Body     messageBody `json:"rescind"`
}

func (c *claims) member(name []byte, v value) error {
	switch string(name) {
	case "iss":
		return readText(v, &c.Issuer)
	case "aud":
		return readText(v, &c.Audience)
	case "iat":
		return readInt(v, &c.IssuedAt)
	case "rescind":
		return readObject(v, c.Body)
	}
	return nil
}

// signMessage signs a beacon, query, receipt or refusal.
func (s *Signer) signMessage(typ string, c claims) ([]byte, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding claims: %w", err)
	}
	return s.sign(typ, payload)
}

// openMessage verifies a beacon, query, receipt or refusal and reads it into body, of
// which origin is a part: the publisher named there must be the one to which the
// key is bound.
func (k *KeySet) openMessage(typ string, fleet Fleet, raw []byte, body messageBody, origin *Origin) (*PublicKey, error) {
	d := newDocument()
	defer d.release()
	payload, key, err := k.open(d, typ, raw)
	if err != nil {
		return nil, err
	}
	c := claims{Body: body}
	o, err := d.scan(payload)
	if err == nil {
		err = readObject(o.value, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Audience != fleet {
		return nil, ErrAudience
	}
	if err := origin.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if origin.Publisher != key.Publisher {
		return nil, ErrKeyBounds
	}
	return key, nil
}
