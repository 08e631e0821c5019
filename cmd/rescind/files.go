package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

// adminKeySum gives the admin key's hash. A file that was named must be there;
// without admin.key in DIR there is no admin.
func (g *globals) adminKeySum(path string, log *slog.Logger) (sum [sha256.Size]byte, err error) {
	key, err := readKey(orPath(path, g.path("admin.key")))
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		if len(g.file.APIKeys)+len(g.file.Users)+len(g.file.AdminRealms)+len(g.file.OAuthClients)+len(g.file.TLSClients) == 0 {
			log.Warn("no admin key, no api_keys, no users, no oauth_clients: nobody can revoke but with a token of their own",
				"make", "rescind apikeys new NAME")
		}
		// The hash of no key that anybody knows.
		rand.Read(sum[:])
		return sum, nil
	}
	if err != nil {
		return sum, fmt.Errorf("admin key: %w", err)
	}
	return sha256.Sum256([]byte(key)), nil
}
