package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rescind/rescind/events"
)

const (
	keyFile  = "publisher.key"
	jwksFile = "publishers.jwks"
)

// newSigner makes a publisher's key in dir: publisher.key, and its public half
// added to publishers.jwks.
func newSigner(dir, publisher string, kinds []events.Kind) (*events.Signer, error) {
	path := filepath.Join(dir, keyFile)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return makeSigner(dir, publisher, kinds, writeNew)
}

// replaceSigner makes a key with the bounds of old, which is put aside. The old
// public key stays in the set: what it signed still stands.
func replaceSigner(dir string, old *events.Signer) (*events.Signer, error) {
	k := old.Public()
	// The old key has both names until the new one takes the first: a crash in
	// between costs nothing.
	err := os.Link(filepath.Join(dir, keyFile), filepath.Join(dir, "publisher-"+k.ID[:8]+".key"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return makeSigner(dir, k.Publisher, k.Kinds, replaceFile)
}

// makeSigner writes the public half first: a key that nobody has is harmless in
// the set, one that signs and is not there is refused by every agent.
func makeSigner(dir, publisher string, kinds []events.Kind, write func(string, []byte, os.FileMode) error) (*events.Signer, error) {
	s, err := events.NewSigner(publisher, kinds...)
	if err != nil {
		return nil, usage("%v", err)
	}
	private, err := s.PrivateJWK()
	if err != nil {
		return nil, err
	}
	if err := addPublicKey(filepath.Join(dir, jwksFile), s.Public()); err != nil {
		return nil, err
	}
	return s, write(filepath.Join(dir, keyFile), append(private, '\n'), 0o600)
}

// ensureSigner reads the publisher's key of dir, or makes one. Its public half
// is put back where it is missing.
func ensureSigner(dir, id string) (*events.Signer, error) {
	s, err := newSigner(dir, id, nil)
	if !errors.Is(err, fs.ErrExist) {
		return s, err
	}
	if s, err = readSigner(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	return s, addPublicKey(filepath.Join(dir, jwksFile), s.Public())
}

// addPublicKey adds a key to a key set file, which is made if it is missing.
func addPublicKey(path string, k *events.PublicKey) error {
	keys := []*events.PublicKey{k}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		set, err := events.ParseKeySet(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if set.Has(k.ID) {
			return nil
		}
		keys = append(set.All(), k)
	}
	b, err := json.MarshalIndent(events.NewKeySet(keys...), "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(b, '\n'), 0o644)
}

func readSigner(path string) (*events.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no signing key at %s: make one with: rescind keys new", path)
	}
	if err != nil {
		return nil, err
	}
	s, err := events.ParseSigner(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}
