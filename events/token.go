package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// MaxTokenBytes is the longest token that is read, in bytes.
const MaxTokenBytes = 16 << 10

// ErrMalformedToken is returned for what is not a JWT in compact form by the
// strict reading that every agent and publisher shares. Guards refuse such a
// token; they never take it for one that is not revoked.
var ErrMalformedToken = errors.New("malformed token")

// ErrNotAccessToken is returned for a JWT that says it is something else than
// an access, ID or refresh token: a security event, a logout token or a status
// list (RFC 8417 section 4.2, RFC 8725 section 3.11).
var ErrNotAccessToken = errors.New("not an access token")

// Token is what revocations are matched against: what a token says, without
// its text. The zero Token matches nothing but all.
type Token struct {
	// Identity is the token's own name on a denylist.
	Identity Identity
	// Issuer is iss, "" when absent.
	Issuer string
	// JTI is jti when it is a non-empty string. Identity rests on it only when
	// Issuer is not empty either.
	JTI string
	// IssuedAt, AuthTime and Expires are iat, auth_time and exp in Unix seconds,
	// iat and auth_time rounded down and exp up; 0 when absent. A literal 0
	// counts as absent, which errs towards refusing.
	IssuedAt, AuthTime, Expires int64

	issuer Key
	// marks are those of the names of claims, which are read to find one.
	marks  []mark
	claims []claim
}

type claim struct {
	name string
	key  Key
}

// mark is what of a name is compared first: its length and its beginning. A short
// name is told from all others by it.
type mark uint64

const markedBytes = 7

func markOf(name string) mark {
	m := mark(min(len(name), 255)) << (8 * markedBytes)
	for i := range min(len(name), markedBytes) {
		m |= mark(name[i]) << (8 * i)
	}
	return m
}

// notAccess are the typ values (RFC 7515 section 4.1.9) that mark a JWT as
// something that must not be accepted in an access token's place.
var notAccess = []string{"secevent+jwt", "logout+jwt", "statuslist+jwt", "global-token-revocation+jwt",
	"client-authentication+jwt", typeBeacon, typeQuery, typeReceipt, typeRefusal}

// LooksLikeJWT tells whether raw has the shape of a compact JWS: three parts
// between dots. What does not is an opaque token.
func LooksLikeJWT(raw string) bool { return strings.Count(raw, ".") == 2 }

// ParseToken reads a JWT in compact form: at most MaxTokenBytes, three parts of
// strict base64url, a header without crit or b64, a payload without duplicate
// names and nested at most 64 deep, iss, sub and sid strings where present, times
// in [0, 2^53). It does not verify the signature, and the times are not compared with a clock.
//
// The error is ErrMalformedToken or ErrNotAccessToken with the reason, never
// with any part of the token. ParseToken does no I/O.
func ParseToken(raw string) (*Token, error) {
	d := newDocument()
	defer d.release()
	typ, payload, signed, err := openCompact(d, raw)
	if err != nil {
		return nil, err
	}
	if slices.Contains(notAccess, typ) {
		return nil, fmt.Errorf("%w: typ is %s", ErrNotAccessToken, typ)
	}
	t, err := readToken(d, payload)
	if err != nil {
		return nil, err
	}
	if t.Issuer != "" && t.JTI != "" {
		t.Identity = JTIIdentity(t.Issuer, t.JTI)
	} else {
		t.Identity = SignedIdentity(signed)
	}
	return t, nil
}

// openCompact reads a compact JWS but for its payload, which stands in d. typ is in
// lower case and without "application/"; signed is what the signature covers.
func openCompact(d *document, raw string) (typ string, payload []byte, signed string, err error) {
	if len(raw) > MaxTokenBytes {
		return "", nil, "", fmt.Errorf("%w: longer than %d bytes", ErrMalformedToken, MaxTokenBytes)
	}
	head, rest, _ := strings.Cut(raw, ".")
	body, tail, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(tail, ".") || head == "" || body == "" {
		return "", nil, "", fmt.Errorf("%w: not three parts", ErrMalformedToken)
	}
	if _, err := decodeText(d, tail); err != nil {
		return "", nil, "", fmt.Errorf("%w: signature is not base64url", ErrMalformedToken)
	}
	if typ, err = readType(d, head); err != nil {
		return "", nil, "", err
	}
	if payload, err = decodeText(d, body); err != nil {
		return "", nil, "", fmt.Errorf("%w: payload is not base64url", ErrMalformedToken)
	}
	return typ, payload, raw[:len(head)+1+len(body)], nil
}

// readType checks a header and gives its typ.
func readType(d *document, part string) (string, error) {
	b, err := decodeText(d, part)
	if err != nil {
		return "", fmt.Errorf("%w: header is not base64url", ErrMalformedToken)
	}
	h, err := d.scan(b)
	if err != nil {
		return "", fmt.Errorf("%w: header: %w", ErrMalformedToken, err)
	}
	alg, err := h.chars("alg")
	if err != nil || len(alg) == 0 || strings.EqualFold(string(alg), "none") {
		return "", fmt.Errorf("%w: header has no alg to verify with", ErrMalformedToken)
	}
	if h.has("crit") || h.has("b64") {
		return "", fmt.Errorf("%w: header has crit or b64", ErrMalformedToken)
	}
	text, err := h.str("typ")
	if err != nil {
		return "", fmt.Errorf("%w: header: %w", ErrMalformedToken, err)
	}
	return strings.TrimPrefix(strings.ToLower(text), "application/"), nil
}

// readToken reads the claims of a token: all of it but its Identity.
func readToken(d *document, payload []byte) (*Token, error) {
	o, err := d.scan(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrMalformedToken, err)
	}
	if o.has("events") {
		return nil, fmt.Errorf("%w: it has an events claim", ErrNotAccessToken)
	}
	t := &Token{}
	var errs [6]error
	t.Issuer, errs[0] = o.str("iss")
	_, errs[1] = o.chars("sub")
	_, errs[2] = o.chars("sid")
	t.IssuedAt, errs[3] = o.seconds("iat", math.Floor)
	t.AuthTime, errs[4] = o.seconds("auth_time", math.Floor)
	t.Expires, errs[5] = o.seconds("exp", math.Ceil)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedToken, err)
	}
	if jti := o.get("jti"); jti.form() == isString {
		t.JTI = string(jti.raw())
	}
	t.issuer = IssuerKey(t.Issuer)
	t.setClaims(stringClaims(o))
	return t, nil
}

func (t *Token) setClaims(claims []claim) {
	t.claims, t.marks = claims, make([]mark, len(claims))
	for i := range claims {
		t.marks[i] = markOf(claims[i].name)
	}
}

// stringClaims gives the claims that are strings, in the order of their names.
func stringClaims(o object) []claim {
	count, length := 0, 0
	for name, v := range o.members() {
		if v.form() == isString {
			count++
			length += len(name)
		}
	}
	claims := slices.Grow([]claim(nil), count)
	var names strings.Builder // one string that all names are parts of
	names.Grow(length)
	for name, v := range o.members() {
		if v.form() == isString {
			start := names.Len()
			names.Write(name)
			shared := names.String()[start:]
			claims = append(claims, claim{shared, claimKey(name, v.raw())})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int { return strings.Compare(a.name, b.name) })
	return claims
}

// TokenFromClaims reads an already verified claims set, as golang-jwt gives it
// (jwt.MapClaims is a map[string]any), when the token's text is not at hand. It
// needs string iss and jti: without the text a token has no other identity.
func TokenFromClaims(claims map[string]any) (*Token, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("%w: claims cannot be encoded", ErrMalformedToken)
	}
	d := newDocument()
	defer d.release()
	t, err := readToken(d, payload)
	if err != nil {
		return nil, err
	}
	if t.Issuer == "" || t.JTI == "" {
		return nil, fmt.Errorf("%w: claims without iss and jti have no identity", ErrMalformedToken)
	}
	t.Identity = JTIIdentity(t.Issuer, t.JTI)
	return t, nil
}

// OpaqueToken is the Token of a token that is not a JWT: it has an identity and
// nothing else.
func OpaqueToken(raw string) (*Token, error) {
	if raw == "" || len(raw) > MaxTokenBytes {
		return nil, fmt.Errorf("%w: empty or longer than %d bytes", ErrMalformedToken, MaxTokenBytes)
	}
	return &Token{Identity: OpaqueIdentity(raw), issuer: IssuerKey("")}, nil
}

// Expired tells whether the token's exp, if any, is at or before now.
func (t *Token) Expired(now time.Time) bool { return t.Expires != 0 && t.Expires <= now.Unix() }

// IssuerKey is the key of the token's issuer, the same as IssuerKey(t.Issuer).
func (t *Token) IssuerKey() Key { return t.issuer }

// Claim gives the key of the token's top-level string claim of that name, and
// whether there is one.
func (t *Token) Claim(name string) (Key, bool) { return t.Named(NameClaim(name)) }

// ClaimName is the name of a claim that is looked for in many tokens.
type ClaimName struct {
	name string
	mark mark
}

// NameClaim makes the ClaimName of a name.
func NameClaim(name string) ClaimName { return ClaimName{name, markOf(name)} }

// String is the name.
func (n ClaimName) String() string { return n.name }

// Named is Claim for a name that was made ready.
func (t *Token) Named(n ClaimName) (Key, bool) {
	for i, m := range t.marks {
		if m == n.mark && (len(n.name) <= markedBytes || t.claims[i].name == n.name) {
			return t.claims[i].key, true
		}
	}
	return Key{}, false
}

// ClaimKeys gives the keys of the token's top-level string claims, in the order
// of their names.
func (t *Token) ClaimKeys() []Key {
	keys := make([]Key, len(t.claims))
	for i, c := range t.claims {
		keys[i] = c.key
	}
	return keys
}
