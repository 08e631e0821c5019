package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/intake"
)

func keySet(t *testing.T, dir string) *events.KeySet {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, jwksFile))
	if err != nil {
		t.Fatal(err)
	}
	set, err := events.ParseKeySet(data)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPublicKeyThatWasLostComesBack(t *testing.T) {
	dir := t.TempDir()
	made, err := ensureSigner(dir, "p")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, jwksFile)); err != nil {
		t.Fatal(err)
	}
	again, err := ensureSigner(dir, "p")
	if err != nil {
		t.Fatal(err)
	}
	if again.Public().ID != made.Public().ID || !keySet(t, dir).Has(made.Public().ID) {
		t.Error("the key is another, or not in the set")
	}
}

// A crash in the middle of a rotation leaves a key that agents know, and the
// next rotation goes through.
func TestRotationThatStoppedHalfWayCanBeDoneAgain(t *testing.T) {
	dir := t.TempDir()
	old, err := ensureSigner(dir, "p")
	if err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(dir, "publisher-"+old.Public().ID[:8]+".key")
	if err := os.Link(filepath.Join(dir, keyFile), aside); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, keyFile+".new"), "half")
	s, err := replaceSigner(dir, old)
	if err != nil {
		t.Fatal(err)
	}
	have, err := readSigner(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	set := keySet(t, dir)
	if have.Public().ID != s.Public().ID || !set.Has(s.Public().ID) || !set.Has(old.Public().ID) {
		t.Error("a key is missing")
	}
}

func TestWithoutAdminKeyNobodyIsAdminAndTheLogSaysSo(t *testing.T) {
	var log bytes.Buffer
	g := &globals{Dir: t.TempDir(), file: &fileConfig{}}
	one, err := g.adminKeySum("", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	two, err := g.adminKeySum("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if one == two || !strings.Contains(log.String(), "rescind apikeys new") {
		t.Errorf("the same sum twice, or no warning: %s", log.String())
	}
	log.Reset()
	g.file.APIKeys = []intake.APIKeyConfig{{}}
	if _, err := g.adminKeySum("", slog.New(slog.NewTextHandler(&log, nil))); err != nil || log.Len() != 0 {
		t.Errorf("%v, %s", err, log.String())
	}
}

func TestPlainHTTPKeysOnlyFromThisHost(t *testing.T) {
	for from, ok := range map[string]bool{
		"http://127.0.0.1:7480/k": true, "http://localhost/k": true, "http://[::1]:1/k": true, "HTTP://127.0.0.9/k": true,
		"https://example.com/k": true, "/file": true, "http-file": true,
		"http://127.evil.org/": false, "http://localhost.evil.org/": false, "http://localhost:1@evil.org/": false,
		"http://10.0.0.1/": false, "HTTP://example.com/": false,
	} {
		if err := checkKeys(from); (err == nil) != ok {
			t.Errorf("%s: %v", from, err)
		}
	}
}
