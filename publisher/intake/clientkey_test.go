package intake_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/publisher/intake"
)

// What is encoded otherwise in a form than in Basic: as it stands, the other one
// would be another secret if it were decoded.
const (
	secret      = `s3cr+t %2B/é:`
	otherSecret = `s3cr+t%2B`
)

// oauthClients are one of each sort.
func oauthClients(svc *clientKey) []intake.ClientConfig {
	sum := sha256.Sum256([]byte(secret))
	other := sha256.Sum256([]byte(otherSecret))
	return []intake.ClientConfig{
		{ID: "web:1 app", Realm: "demo", SecretSHA256: hex.EncodeToString(sum[:])},
		{ID: "other", Realm: "partner", SecretSHA256: hex.EncodeToString(other[:])},
		{ID: "spa", Realm: "demo", Public: true},
		{ID: "svc", Realm: "demo", JWKS: svc.jwks},
	}
}

// clientKey is what the client svc signs assertions with.
type clientKey struct {
	private *ecdsa.PrivateKey
	jwks    string // a file
}

func newClientKey(t *testing.T) *clientKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Use: "sig"}}})
	must(t, err)
	k := &clientKey{key, filepath.Join(t.TempDir(), "svc.jwks")}
	must(t, os.WriteFile(k.jwks, set, 0o600))
	return k
}

// assertion is one that is right, but for what change does to it.
func (k *clientKey) assertion(t *testing.T, change func(header map[string]any, claims jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "svc", "sub": "svc", "aud": issuer, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	if change != nil {
		change(tok.Header, tok.Claims.(jwt.MapClaims))
	}
	raw, err := tok.SignedString(k.private)
	must(t, err)
	return raw
}
