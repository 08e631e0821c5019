package realm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

const jwksFile = "jwks.json"

// devAlgorithms are what a development realm signs with, each with a key of its
// own in a file named after it.
var devAlgorithms = []struct {
	alg    string
	method jwt.SigningMethod
	make   func() (crypto.Signer, error)
}{
	{"EdDSA", jwt.SigningMethodEdDSA, func() (crypto.Signer, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}},
	{"ES256", jwt.SigningMethodES256, func() (crypto.Signer, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}},
	{"RS256", jwt.SigningMethodRS256, func() (crypto.Signer, error) {
		return rsa.GenerateKey(rand.Reader, minRSABits)
	}},
}

// openDevKeys loads a realm's keys, making the whole directory when there is
// none. It appears under its name complete or not at all, and never replaces
// one that is there: so of two processes that make it at once, one wins and both
// read the winner's keys.
func openDevKeys(dir string) (map[string]*devKey, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDevKeys(dir); err != nil {
			return nil, fmt.Errorf("making keys: %w", err)
		}
	}
	keys := make(map[string]*devKey, len(devAlgorithms))
	for _, a := range devAlgorithms {
		private, err := readDevKey(filepath.Join(dir, a.alg+".pem"))
		if err != nil {
			return nil, fmt.Errorf("%w (remove %s to have new keys made)", err, dir)
		}
		jwk, err := publicJWK(private, a.alg)
		if err != nil {
			return nil, err
		}
		keys[a.alg] = &devKey{a.method, jwk.KeyID, private}
	}
	return keys, nil
}

func makeDevKeys(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := writeDevKeys(tmp); err != nil {
		return err
	}
	// The key set is for others to read; the private keys have modes of their own.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	err = os.Rename(tmp, dir)
	if _, statErr := os.Stat(dir); err != nil && statErr == nil {
		return nil // Another process was first.
	}
	return err
}

func writeDevKeys(dir string) error {
	var set jose.JSONWebKeySet
	for _, a := range devAlgorithms {
		private, err := a.make()
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return err
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, a.alg+".pem"), block, 0o600); err != nil {
			return err
		}
		jwk, err := publicJWK(private, a.alg)
		if err != nil {
			return err
		}
		set.Keys = append(set.Keys, *jwk)
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, jwksFile), append(data, '\n'), 0o644)
}

func readDevKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", path)
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS #8 private key", path)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: not a signing key", path)
	}
	return signer, nil
}

func publicJWK(private crypto.Signer, alg string) (*jose.JSONWebKey, error) {
	jwk := &jose.JSONWebKey{Key: private.Public(), Algorithm: alg, Use: "sig"}
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return jwk, nil
}
