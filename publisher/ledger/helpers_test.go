package ledger_test

import (
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

const fleet = events.DefaultFleet

func open(t testing.TB, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(dir, fleet, "p1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l
}

func update(t testing.TB, l *ledger.Ledger, fn func(tx *ledger.Tx) error) {
	t.Helper()
	if err := l.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, l *ledger.Ledger, fn func(tx *ledger.Tx) error) {
	t.Helper()
	if err := l.View(fn); err != nil {
		t.Fatal(err)
	}
}

func entry(expires time.Time, raw string) *ledger.Entry {
	return &ledger.Entry{ID: events.NewEventID(), Stream: events.Control, Expires: expires.Unix(), Own: true, Raw: []byte(raw)}
}

func has(t testing.TB, l *ledger.Ledger, id events.EventID) (found bool) {
	t.Helper()
	view(t, l, func(tx *ledger.Tx) error {
		e, err := tx.Event(id)
		found = e != nil
		return err
	})
	return found
}
