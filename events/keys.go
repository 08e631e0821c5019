package events

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// PublicKey is one publisher's key with the bounds of its use.
type PublicKey struct {
	// ID is the RFC 7638 thumbprint, the kid of what it signs.
	ID     string
	Public ed25519.PublicKey
	// Publisher is the id of the only publisher it may sign for.
	Publisher string
	// Kinds are the kinds of event it may sign; empty means all.
	Kinds []Kind
}

func (p *PublicKey) maySign(k Kind) bool {
	return len(p.Kinds) == 0 || slices.Contains(p.Kinds, k)
}

// boundsJSON are the members by which a JWK carries its bounds (RFC 7517
// section 4 lets a key have members of its user's own).
type boundsJSON struct {
	Publisher string `json:"rescind_publisher"`
	Kinds     []Kind `json:"rescind_kinds,omitempty"`
}

// KeySet is the set of publishers' keys that an agent trusts. It does not change
// once made; a refreshed set is another KeySet.
type KeySet struct {
	keys map[string]*PublicKey
	// headers has what the headers say that the keys' signers write.
	headers map[string]header
}

// Keys gives the set itself, so that a fixed KeySet can stand where a source of
// key sets is asked for.
func (k *KeySet) Keys(context.Context) (*KeySet, error) { return k, nil }

// NewKeySet makes a set of the keys given.
func NewKeySet(keys ...*PublicKey) *KeySet {
	set := &KeySet{keys: make(map[string]*PublicKey, len(keys)), headers: map[string]header{}}
	for _, k := range keys {
		set.add(k)
	}
	return set
}

func (k *KeySet) add(key *PublicKey) {
	k.keys[key.ID] = key
	maps.Copy(k.headers, knownHeaders(key.ID))
}

// ParseKeySet reads a JWKS (RFC 7517 section 5) in which each key has kty OKP,
// crv Ed25519 and the member rescind_publisher; rescind_kinds may bound it
// further. It refuses a set without keys, a private key, a key that stands there
// twice, and one that it cannot bind: a key of another use has no place in this
// file, and a bound that it does not know would be no bound.
func ParseKeySet(data []byte) (*KeySet, error) {
	d := newDocument()
	defer d.release()
	doc, err := d.scan(data)
	if err != nil {
		return nil, fmt.Errorf("key set is not a JWKS: %w", err)
	}
	keys := doc.get("keys")
	if keys.form() != isArray {
		return nil, errors.New("key set has no keys")
	}
	set := NewKeySet()
	for v := range keys.elements() {
		k, err := parsePublicKey(v)
		if err != nil {
			return nil, fmt.Errorf("key %d of the key set: %w", set.Len(), err)
		}
		if set.Has(k.ID) {
			return nil, fmt.Errorf("key %d of the key set: the same key stands there twice", set.Len())
		}
		set.add(k)
	}
	if set.Len() == 0 {
		return nil, errors.New("key set has no keys")
	}
	return set, nil
}

// Len is the number of keys in the set.
func (k *KeySet) Len() int { return len(k.keys) }

// Has tells whether the set has the key.
func (k *KeySet) Has(id string) bool { _, ok := k.keys[id]; return ok }

// All gives the keys in the order of their ids.
func (k *KeySet) All() []*PublicKey {
	all := make([]*PublicKey, 0, len(k.keys))
	for _, key := range k.keys {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b *PublicKey) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// MarshalJSON gives the set as a JWKS that ParseKeySet reads.
func (k *KeySet) MarshalJSON() ([]byte, error) {
	type jwk struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Kid string `json:"kid"`
		Use string `json:"use"`
		Alg string `json:"alg"`
		boundsJSON
	}
	out := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, key := range k.All() {
		out.Keys = append(out.Keys, jwk{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(key.Public),
			key.ID, "sig", "EdDSA", boundsJSON{key.Publisher, key.Kinds}})
	}
	return json.Marshal(out)
}

func parsePublicKey(v value) (*PublicKey, error) {
	var jwk jose.JSONWebKey
	if v.form() != isObject || json.Unmarshal(v.raw(), &jwk) != nil {
		return nil, errors.New("not a JWK")
	}
	bounds, err := parseBounds(v.raw())
	if err != nil {
		return nil, err
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return nil, errors.New("not a key for signatures")
	}
	pub, ok := jwk.Key.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("not a public Ed25519 key")
	}
	return bindKey(pub, bounds)
}

// parseBounds reads a JWK's own members of rescind. A misspelt one is refused, as
// is an empty list of kinds: either would leave the key without its bounds.
func parseBounds(raw []byte) (b boundsJSON, err error) {
	d := newDocument()
	defer d.release()
	o, err := d.scan(raw)
	if err != nil {
		return b, err
	}
	for n := range o.members() {
		name := string(n)
		if name != "rescind_publisher" && name != "rescind_kinds" && strings.HasPrefix(strings.ToLower(name), "rescind") {
			return b, fmt.Errorf("unknown member %q", name)
		}
	}
	b.Publisher, err = o.str("rescind_publisher")
	err = errors.Join(err, into(o, "rescind_kinds", &b.Kinds, readTexts))
	if err == nil && o.has("rescind_kinds") && len(b.Kinds) == 0 {
		err = errors.New("rescind_kinds is empty: leave it out to allow all")
	}
	return b, err
}

func bindKey(pub ed25519.PublicKey, b boundsJSON) (*PublicKey, error) {
	if err := (&Origin{Publisher: b.Publisher, Incarnation: EventID{1}, Counter: 1}).Validate(); err != nil {
		return nil, fmt.Errorf("rescind_publisher: %w", err)
	}
	for _, kind := range b.Kinds {
		if _, err := ParseKind(string(kind)); err != nil {
			return nil, fmt.Errorf("rescind_kinds: %w", err)
		}
	}
	jwk := jose.JSONWebKey{Key: pub}
	tp, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	return &PublicKey{base64.RawURLEncoding.EncodeToString(tp), pub, b.Publisher, slices.Clone(b.Kinds)}, nil
}

// Signer is a publisher's private key. Its String, its JSON and its log value
// show the key's id only; PrivateJWK is the one way to get the key out.
type Signer struct {
	// A func is the one thing that no printer of values looks into, whatever
	// struct the Signer is part of.
	private func() ed25519.PrivateKey
	kid     string
	public  *PublicKey
}

// NewSigner makes a new key for the publisher, bounded to the kinds (none means all).
func NewSigner(publisher string, kinds ...Kind) (*Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return newSigner(private, boundsJSON{publisher, kinds})
}

func newSigner(private ed25519.PrivateKey, b boundsJSON) (*Signer, error) {
	pub, err := bindKey(private.Public().(ed25519.PublicKey), b)
	if err != nil {
		return nil, err
	}
	return &Signer{func() ed25519.PrivateKey { return private }, pub.ID, pub}, nil
}

// ParseSigner reads a private JWK as PrivateJWK writes it. The error never
// contains any of the key.
func ParseSigner(data []byte) (*Signer, error) {
	var jwk jose.JSONWebKey
	if json.Unmarshal(data, &jwk) != nil {
		return nil, errors.New("signing key is not a private JWK")
	}
	bounds, err := parseBounds(data)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	private, ok := jwk.Key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("signing key is not a private Ed25519 JWK")
	}
	return newSigner(private, bounds)
}

// PrivateJWK gives the key as a private JWK with its bounds, to be kept in a
// file of mode 0600.
func (s *Signer) PrivateJWK() ([]byte, error) {
	return json.MarshalIndent(struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		D   string `json:"d"`
		Kid string `json:"kid"`
		boundsJSON
	}{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(s.public.Public),
		base64.RawURLEncoding.EncodeToString(s.private().Seed()), s.kid,
		boundsJSON{s.public.Publisher, s.public.Kinds}}, "", "  ")
}

// Public gives the public half, with its bounds.
func (s *Signer) Public() *PublicKey { return s.public }

// String shows the key's id, never the key.
func (s Signer) String() string { return "signer " + s.kid }

// GoString is String, so that %#v shows no key either.
func (s Signer) GoString() string { return s.String() }

// MarshalJSON gives the key's id, never the key.
func (s Signer) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
