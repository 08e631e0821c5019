package transmit

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// keyBits is the size of a new key. CAEP's interoperability profile wants RS256 with
// at least as much.
const keyBits = 2048

// Key signs what goes out, with RS256, and keeps what receivers confide. All publishers
// of a fleet have the same one.
type Key struct {
	private *rsa.PrivateKey
	id      string // RFC 7638
	sealer  cipher.AEAD
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	return newKey(private)
}

// ParseKey reads a key as PEM gives it: PKCS #8.
func ParseKey(text []byte) (*Key, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, errors.New("not one PRIVATE KEY in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok || private.N.BitLen() < keyBits {
		return nil, fmt.Errorf("not an RSA key of %d bits or more", keyBits)
	}
	return newKey(private)
}

func newKey(private *rsa.PrivateKey) (*Key, error) {
	sum, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("naming key: %w", err)
	}
	secret, err := hkdf.Key(sha256.New, x509.MarshalPKCS1PrivateKey(private), nil, "rescind/1/receivers", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	return &Key{private, base64.RawURLEncoding.EncodeToString(sum), sealer}, nil
}

// PEM is the key as ParseKey reads it.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// JWKS is the public key set by which receivers verify.
func (k *Key) JWKS() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &k.private.PublicKey, KeyID: k.id, Algorithm: "RS256", Use: "sig"}}}
}

// sign makes a SET.
func (k *Key) sign(claims jwt.MapClaims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	t.Header["typ"], t.Header["kid"] = "secevent+jwt", k.id
	raw, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return raw, nil
}

// signed tells whether the key has signed the SET.
func (k *Key) signed(raw string) bool {
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()).
		ParseWithClaims(raw, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return &k.private.PublicKey, nil })
	return err == nil
}

// seal encrypts what only publishers may read; it is bound to where it stands.
func (k *Key) seal(text, where string) string {
	if text == "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString(k.sealer.Seal(nil, nil, []byte(text), []byte(where)))
}

func (k *Key) unseal(sealed, where string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", errors.New("what was kept is damaged")
	}
	text, err := k.sealer.Open(nil, nil, b, []byte(where))
	if err != nil {
		return "", errors.New("what was kept is damaged, or of another key")
	}
	return string(text), nil
}
