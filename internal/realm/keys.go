package realm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// algorithms are those that a token may be signed with (RFC 8725 section 3.1):
// asymmetric ones only, since a key that is published must not be a secret.
var algorithms = []string{"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// Algorithms are the values of alg that a token or a statement may be signed with.
func Algorithms() []string { return slices.Clone(algorithms) }

// The sizes of RSA keys that are used, in bits: a shorter one is weak
// (RFC 7518 section 3.3), a longer one slow.
const minRSABits, maxRSABits = 2048, 8192

// key is one public key with the algorithms it may be used with.
type key struct {
	id     string
	public crypto.PublicKey
	algs   []string
}

// keySet is an issuer's keys. It does not change once made.
type keySet struct {
	byID map[string][]*key
	all  []*key
}

// find gives the keys to try for a token, and whether the set has what the
// token names. The algorithm narrows the choice and never widens it. A token
// that names no key is for a set that has one key only for its algorithm
// (OpenID Connect Core section 10.1).
func (s *keySet) find(kid, alg string) ([]jwt.VerificationKey, bool) {
	among, known := s.byID[kid]
	if kid == "" {
		among = s.all
	}
	var fit []jwt.VerificationKey
	for _, k := range among {
		if slices.Contains(k.algs, alg) {
			fit = append(fit, k.public)
		}
	}
	if kid == "" {
		return fit, len(fit) == 1
	}
	return fit, known
}

// parseKeySet reads a JWKS (RFC 7517 section 5). Keys that cannot verify tokens
// are left out; skipped says which and why. A set without usable keys is legal:
// its issuer has taken all of them away.
func parseKeySet(data []byte) (set *keySet, skipped []error, err error) {
	var doc struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil || doc.Keys == nil {
		return nil, nil, errors.New("not a JWKS")
	}
	set = &keySet{byID: make(map[string][]*key, len(*doc.Keys))}
	for i, raw := range *doc.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.all = append(set.all, k)
		if k.id != "" {
			set.byID[k.id] = append(set.byID[k.id], k)
		}
	}
	return set, skipped, nil
}

func parseKey(raw []byte) (*key, error) {
	var secret struct {
		D, K json.RawMessage
	}
	if json.Unmarshal(raw, &secret) != nil {
		return nil, errors.New("not a JWK")
	}
	if secret.D != nil || secret.K != nil {
		return nil, errors.New("holds a secret that must not be published")
	}
	var jwk jose.JSONWebKey
	if jwk.UnmarshalJSON(raw) != nil || !jwk.Valid() {
		return nil, errors.New("damaged, or of an unsupported type")
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return nil, errors.New("not for signatures")
	}
	algs, err := algorithmsOf(jwk.Key)
	if err != nil {
		return nil, err
	}
	if jwk.Algorithm != "" {
		algs = slices.DeleteFunc(algs, func(alg string) bool { return alg != plainName(jwk.Algorithm) })
	}
	if len(algs) == 0 {
		return nil, errors.New("its alg is not one that is accepted for its type")
	}
	return &key{jwk.KeyID, jwk.Key, algs}, nil
}

// plainName maps the fully-specified name of EdDSA (RFC 9864) to the one that
// tokens carry.
func plainName(alg string) string {
	if alg == "Ed25519" {
		return "EdDSA"
	}
	return alg
}

func algorithmsOf(public crypto.PublicKey) ([]string, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	case *ecdsa.PublicKey:
		return curveAlgorithms(k.Curve.Params().BitSize)
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("RSA key of %d bits: must be %d to %d", bits, minRSABits, maxRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	default:
		return nil, errors.New("of an unsupported type")
	}
}

func curveAlgorithms(bits int) ([]string, error) {
	switch bits {
	case 256:
		return []string{"ES256"}, nil
	case 384:
		return []string{"ES384"}, nil
	case 521:
		return []string{"ES512"}, nil
	default:
		return nil, errors.New("on an unsupported curve")
	}
}
