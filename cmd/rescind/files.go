package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rescind/rescind/events"
)

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

// replaceFile writes a file, whole or not at all.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// ensureAdminKey makes the admin key on the first start: 32 random bytes in
// base64url.
func ensureAdminKey(path string) (made bool, err error) {
	var b [32]byte
	rand.Read(b[:])
	err = writeNew(path, []byte(base64.RawURLEncoding.EncodeToString(b[:])+"\n"), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// readKey reads a one-line secret.
func readKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, " \n\t") {
		return "", fmt.Errorf("%s does not hold one key", path)
	}
	return key, nil
}

func adminKeySum(path string) (sum [sha256.Size]byte, err error) {
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return sum, nil
	}
	if err != nil {
		return sum, fmt.Errorf("admin key: %w", err)
	}
	return sha256.Sum256([]byte(key)), nil
}

// newSigner makes a publisher's key in dir: publisher.key, and its public half
// added to publishers.jwks.
func newSigner(dir, publisher string, kinds []events.Kind) (*events.Signer, error) {
	s, err := events.NewSigner(publisher, kinds...)
	if err != nil {
		return nil, err
	}
	private, err := s.PrivateJWK()
	if err != nil {
		return nil, err
	}
	if err := writeNew(filepath.Join(dir, keyFile), append(private, '\n'), 0o600); err != nil {
		return nil, err
	}
	return s, addPublicKey(filepath.Join(dir, jwksFile), s.Public())
}

const (
	keyFile  = "publisher.key"
	jwksFile = "publishers.jwks"
)

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
