package realm

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// devIssuers are the development realms and what they write into iss. The
// domain is reserved for tests (RFC 6761): none of them is ever fetched.
var devIssuers = map[string]string{
	"demo":    "https://demo.rescind.test",
	"partner": "https://partner.rescind.test",
}

// devLife is how long a development token lives when nothing else is asked.
const devLife = time.Hour

// Dev are the development realms demo and partner, with the keys to issue
// tokens of them. It is safe for concurrent use.
type Dev struct {
	dir  string
	keys map[string]map[string]*devKey
}

// OpenDev loads the development realms from dir/realms, making their keys the
// first time. However many processes do so at once, all get the same keys.
func OpenDev(dir string) (*Dev, error) {
	root, err := filepath.Abs(filepath.Join(dir, "realms"))
	if err != nil {
		return nil, fmt.Errorf("opening development realms: %w", err)
	}
	d := &Dev{dir: root, keys: make(map[string]map[string]*devKey, len(devIssuers))}
	for name := range devIssuers {
		keys, err := openDevKeys(filepath.Join(root, name))
		if err != nil {
			return nil, fmt.Errorf("opening development realm %s: %w", name, err)
		}
		d.keys[name] = keys
	}
	return d, nil
}

// Configs are the realms as New takes them, with the absolute paths of their
// key sets.
func (d *Dev) Configs() map[string]Config {
	configs := make(map[string]Config, len(devIssuers))
	for name, iss := range devIssuers {
		configs[name] = Config{Issuers: []string{iss}, JWKS: filepath.Join(d.dir, name, jwksFile)}
	}
	return configs
}

// TokenRequest says which token Issue makes.
type TokenRequest struct {
	// Realm is demo or partner; empty means demo.
	Realm string
	// User becomes sub. Empty takes Client, as for a service of its own.
	User string
	// Session becomes sid, Client both client_id and azp, Scope scope, Audience aud; empty
	// leaves them out.
	Session, Client, Scope, Audience string
	// AuthTime becomes auth_time; the zero time leaves it out.
	AuthTime time.Time
	// TTL is the token's life. Zero means one hour; below zero makes a token
	// that has expired.
	TTL time.Duration
	// Alg is EdDSA, ES256 or RS256; empty means EdDSA.
	Alg string
	// Now becomes iat; the zero time means the clock's.
	Now time.Time
}

// Issue makes an access token with a jti of its own.
func (d *Dev) Issue(req TokenRequest) (string, error) {
	setDefault(&req.Realm, "demo")
	setDefault(&req.Alg, "EdDSA")
	setDefault(&req.User, req.Client)
	setDefault(&req.TTL, devLife)
	if req.Now.IsZero() {
		req.Now = time.Now()
	}
	key, err := d.key(req.Realm, req.Alg)
	if err != nil {
		return "", err
	}
	if req.User == "" {
		return "", errors.New("user: a token needs a user or a client")
	}
	return key.sign("at+jwt", req.claims()) // RFC 9068 section 2.1
}

// Sign makes a JWT of another typ, such as a logout token, with a development
// realm's key. All claims are the caller's, iss too.
func (d *Dev) Sign(name, alg, typ string, claims jwt.MapClaims) (string, error) {
	key, err := d.key(name, alg)
	if err != nil {
		return "", err
	}
	return key.sign(typ, claims)
}

func (d *Dev) key(name, alg string) (*devKey, error) {
	keys, ok := d.keys[name]
	if !ok {
		return nil, fmt.Errorf("realm: %q is not a development realm (%s)", name, list(devIssuers))
	}
	key, ok := keys[alg]
	if !ok {
		return nil, fmt.Errorf("alg: development realms do not sign with %q (%s)", alg, list(keys))
	}
	return key, nil
}

func (req *TokenRequest) claims() jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": devIssuers[req.Realm],
		"sub": req.User,
		"jti": uuid.NewString(),
		"iat": req.Now.Unix(),
		"exp": req.Now.Add(req.TTL).Unix(),
	}
	for name, value := range map[string]string{
		"sid": req.Session, "client_id": req.Client, "azp": req.Client, "scope": req.Scope, "aud": req.Audience,
	} {
		if value != "" {
			c[name] = value
		}
	}
	if !req.AuthTime.IsZero() {
		c["auth_time"] = req.AuthTime.Unix()
	}
	return c
}

func list[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// devKey is one signing key of a development realm.
type devKey struct {
	method  jwt.SigningMethod
	kid     string
	private crypto.Signer
}

func (k *devKey) sign(typ string, claims jwt.MapClaims) (string, error) {
	t := jwt.NewWithClaims(k.method, claims)
	t.Header["kid"] = k.kid
	if t.Header["typ"] = typ; typ == "" {
		delete(t.Header, "typ")
	}
	raw, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return raw, nil
}
