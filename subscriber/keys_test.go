package subscriber_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

func jwks(t *testing.T) ([]byte, *events.KeySet) {
	t.Helper()
	s, err := events.NewSigner("p1")
	if err != nil {
		t.Fatal(err)
	}
	set := events.NewKeySet(s.Public())
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b, set
}

func wantKeys(t *testing.T, what string, src subscriber.KeySource, want *events.KeySet, fault string) {
	t.Helper()
	got, err := src.Keys(t.Context())
	switch {
	case fault != "":
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v, want an error with %q", what, err, fault)
		}
	case err != nil || got.Len() != want.Len() || !got.Has(want.All()[0].ID):
		t.Errorf("%s: %v, %v", what, got, err)
	}
}

func TestKeysFileIsReadAnewAndItsFaultsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.jwks")
	src := subscriber.KeysFile(path)
	wantKeys(t, "missing", src, nil, path)
	for range 2 {
		b, set := jwks(t)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, "written", src, set, "")
	}
	for what, content := range map[string]string{"empty": "", "no keys": `{"keys":[]}`, "cut off": `{"keys":[{`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, what, src, nil, path)
	}
}

func TestKeysURLIsReadAnewAndItsFaultsName(t *testing.T) {
	var status int
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body) // a client that hung up sees for itself
	}))
	src := subscriber.KeysURL(srv.URL, nil)
	for range 2 {
		b, set := jwks(t)
		status, body = http.StatusOK, b
		wantKeys(t, "served", src, set, "")
		body = append(b[:len(b)-1], strings.Repeat(" ", 1<<20)+"}"...)
		wantKeys(t, "too long", src, nil, "longer than")
	}
	status, body = http.StatusNotFound, nil
	wantKeys(t, "not found", src, nil, "404")
	status, body = http.StatusOK, []byte("<html>")
	wantKeys(t, "a page", src, nil, srv.URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Keys(ctx); err == nil {
		t.Error("keys with a context that ended")
	}
	srv.Close()
	wantKeys(t, "server away", src, nil, srv.URL)
	wantKeys(t, "no URL", subscriber.KeysURL("http://\x00", nil), nil, "URL")
}
