package intake

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// Authenticator knows callers by their Authorization header. It is safe for
// concurrent use.
type Authenticator struct {
	config    AuthConfig
	keys      []apiKey
	passwords *passwords
	clients   map[string]*client
	shown     *shown
}

type apiKey struct {
	APIKeyConfig
	sum [sha256.Size]byte
}

// NewAuthenticator refuses a configuration that names two callers alike, or that
// bounds one to what does not exist. The error names the field as rescind.yaml
// calls it. The caller must Close.
func NewAuthenticator(c AuthConfig) (*Authenticator, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	a := &Authenticator{config: c, shown: newShown()}
	for _, k := range c.APIKeys {
		sum, err := parseSum(k.SHA256)
		if err != nil {
			return nil, err
		}
		a.keys = append(a.keys, apiKey{k, sum})
	}
	var err error
	if a.passwords, err = newPasswords(c.Users, a.now); err != nil {
		return nil, err
	}
	a.clients, err = newClients(c.Clients, c.keyOptions())
	return a, err
}

// Close ends the fetching of clients' keys and waits for it.
func (a *Authenticator) Close() { closeClients(a.clients) }

func (a *Authenticator) now() time.Time {
	if a.config.Now == nil {
		return time.Now()
	}
	return a.config.Now()
}

// Authenticate tells who sent the request, from its one Authorization header:
// Bearer with the admin key, an API key or a realm's token; ApiKey with an API
// key, or with base64 of id:key as Elasticsearch clients send it; Basic with a
// user's password, the admin key as password of admin, or an API key as that of
// its id. Without that header, a certificate that the server has verified tells it by
// its subject. It may block for as long as the request's context lasts.
func (a *Authenticator) Authenticate(r *http.Request) (*Caller, error) {
	if len(r.Header.Values("Authorization")) == 0 && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return a.certificate(r.TLS.VerifiedChains[0][0])
	}
	scheme, credentials, err := authorization(r.Header)
	if err != nil {
		return nil, err
	}
	switch scheme {
	case "bearer":
		return a.bearer(r.Context(), credentials)
	case "apikey":
		return a.apiKey(credentials)
	case "basic":
		return a.basic(r.Context(), credentials)
	default:
		return nil, bad("the scheme is not Bearer, ApiKey or Basic")
	}
}

// certificate finds the caller of a certificate that was verified.
func (a *Authenticator) certificate(cert *x509.Certificate) (*Caller, error) {
	subject := cert.Subject.String()
	for _, t := range a.config.TLSClients {
		if t.Subject == subject {
			return bounded(&Caller{Name: "tls:" + subject, Kind: CallerTLS, Realms: t.Realms, Kinds: t.Kinds, Initiator: events.ByAdmin}, t.Receiver), nil
		}
	}
	return nil, bad("the subject of the certificate is none that is known here")
}

// bounded makes a receiver of a caller, if it is one.
func bounded(c *Caller, receiver bool) *Caller {
	if receiver {
		c.Kinds, c.SSF = []events.Kind{}, SSFManage
	}
	return c
}

func bad(reason string) error { return fmt.Errorf("%w: %s", ErrBadCredentials, reason) }

// authorization splits the Authorization header (RFC 9110 section 11.6.2). What
// other readers might split otherwise is refused, line breaks above all: Go's
// base64 decoder skips them.
func authorization(h http.Header) (scheme, credentials string, err error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", "", ErrNoCredentials
	}
	if len(values) > 1 {
		return "", "", bad("more than one Authorization header")
	}
	scheme, credentials, _ = strings.Cut(values[0], " ")
	credentials = strings.TrimLeft(credentials, " ")
	if scheme == "" || credentials == "" {
		return "", "", bad("the Authorization header is malformed")
	}
	for i := range len(credentials) {
		if c := credentials[i]; c <= ' ' || c >= 0x7f {
			return "", "", bad("the Authorization header is malformed")
		}
	}
	return strings.ToLower(scheme), credentials, nil
}

func (a *Authenticator) bearer(ctx context.Context, credentials string) (*Caller, error) {
	if a.isAdminKey(credentials) {
		return adminCaller(), nil
	}
	if k := a.findKey(credentials); k != nil {
		return k.caller(), nil
	}
	if a.config.Realms == nil || !events.LooksLikeJWT(credentials) {
		return nil, bad("unknown key")
	}
	v, err := a.config.Realms.Verify(ctx, credentials)
	if errors.Is(err, realm.ErrKeysUnavailable) {
		return nil, fmt.Errorf("checking bearer: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCredentials, err)
	}
	if a.config.Revoked != nil && a.config.Revoked(v.Token) {
		return nil, bad("the token is revoked")
	}
	return bearerCaller(v, a.config.AdminRealms), nil
}

// apiKey takes a key as it is, and as Elasticsearch clients send it: base64 of
// id:key. The admin key's id is admin.
func (a *Authenticator) apiKey(credentials string) (*Caller, error) {
	if a.isAdminKey(credentials) {
		return adminCaller(), nil
	}
	if k := a.findKey(credentials); k != nil {
		return k.caller(), nil
	}
	id, secret, ok := decodePair(credentials)
	if ok && id == adminName && a.isAdminKey(secret) {
		return adminCaller(), nil
	}
	if k := a.findKey(secret); ok && k != nil && k.ID == id {
		return k.caller(), nil
	}
	return nil, bad("unknown key")
}

func (a *Authenticator) basic(ctx context.Context, credentials string) (*Caller, error) {
	name, secret, ok := decodePair(credentials)
	if !ok {
		return nil, bad("the Authorization header is malformed")
	}
	return a.password(ctx, name, secret)
}

// password finds who has the name and the password: an API key by its id, the admin,
// or a user.
func (a *Authenticator) password(ctx context.Context, name, secret string) (*Caller, error) {
	if k := a.findKey(secret); k != nil && k.ID == name {
		return k.caller(), nil
	}
	if name == adminName {
		if a.isAdminKey(secret) {
			return adminCaller(), nil
		}
		return nil, errPassword
	}
	u, err := a.passwords.check(ctx, name, secret)
	if err != nil {
		return nil, err
	}
	return &Caller{Name: "basic:" + u.Name, Kind: CallerBasic, Realms: u.Realms, Kinds: u.Kinds, Initiator: events.ByAdmin}, nil
}

func (a *Authenticator) isAdminKey(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	none := a.config.AdminKeySHA256 == [sha256.Size]byte{}
	return subtle.ConstantTimeCompare(sum[:], a.config.AdminKeySHA256[:]) == 1 && !none
}

func adminCaller() *Caller {
	return &Caller{Name: adminName, Kind: CallerAdmin, Admin: true, Initiator: events.ByAdmin}
}

// findKey compares with every key, so that its time tells nothing.
func (a *Authenticator) findKey(secret string) *apiKey {
	sum := sha256.Sum256([]byte(secret))
	var found *apiKey
	for i := range a.keys {
		if subtle.ConstantTimeCompare(sum[:], a.keys[i].sum[:]) == 1 {
			found = &a.keys[i]
		}
	}
	return found
}

func (k *apiKey) caller() *Caller {
	return bounded(&Caller{Name: "apikey:" + k.ID, Kind: CallerAPIKey, Realms: k.Realms, Kinds: k.Kinds, Initiator: events.ByAdmin}, k.Receiver)
}

// decodePair reads base64 of name:secret (RFC 7617 section 2).
func decodePair(credentials string) (name, secret string, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}
