package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

func TestSecondOpenIsRefusedWithinTwoSeconds(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	began := time.Now()
	if l, err := ledger.Open(dir, fleet, "p1"); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("got %v, %v, want ErrLocked", l, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestForeignLedgerIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, publisher string
		fleet           events.Fleet
	}{{"fleet", "p1", "other"}, {"publisher", "p2", fleet}} {
		if l, err := ledger.Open(dir, tc.fleet, tc.publisher); !errors.Is(err, ledger.ErrForeign) || !strings.Contains(err.Error(), tc.name) {
			t.Errorf("%s: got %v, %v, want ErrForeign that names it", tc.name, l, err)
		}
	}
	path := filepath.Join(dir, "ledger.db")
	flip(t, path, "rescind-ledger/3", "rescind-ledger/2")
	if l, err := ledger.Open(dir, fleet, "p1"); !errors.Is(err, ledger.ErrForeign) || !strings.Contains(err.Error(), "format") {
		t.Errorf("format: got %v, %v, want ErrForeign that names it", l, err)
	}
	flip(t, path, "rescind-ledger/2", "rescind-ledger/3")
	open(t, dir)
}

func TestDamagedValueIsFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	e := entry(time.Now().Add(time.Hour), "the signed event")
	txn := events.NewEventID()
	update(t, l, func(tx *ledger.Tx) error {
		return errors.Join(tx.PutEvent(e), tx.PutPost(&ledger.Post{Stream: events.Control, ID: e.ID}),
			tx.PutRequest(txn, e.Expires, map[string]string{"note": "the stored request"}))
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger.db")
	flip(t, path, "the signed event", "the singed event")
	flip(t, path, "the stored request", "the sorted request")
	l = open(t, dir)
	for name, read := range map[string]func(tx *ledger.Tx) error{
		"event":   func(tx *ledger.Tx) error { _, err := tx.Event(e.ID); return err },
		"events":  func(tx *ledger.Tx) error { return tx.Events(func(*ledger.Entry) error { return nil }) },
		"posts":   func(tx *ledger.Tx) error { _, err := tx.Posts(0, 1, nil); return err },
		"request": func(tx *ledger.Tx) error { _, err := tx.Request(txn, new(any)); return err },
	} {
		if err := l.View(read); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: got %v, want that it is damaged", name, err)
		}
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	open(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "ledger.db"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// flip replaces bytes in the file.
func flip(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte(from)) {
		t.Fatalf("no %q in the file: %v", from, err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(from), []byte(to)), 0o600); err != nil {
		t.Fatal(err)
	}
}
