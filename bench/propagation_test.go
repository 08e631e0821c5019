package main

import (
	"io"
	"testing"
)

// smokeConfig is a Config for measurements of a size that shows nothing but that
// they run.
func smokeConfig(t *testing.T) *Config {
	t.Helper()
	return &Config{Quick: true, Dir: t.TempDir(), Log: io.Discard}
}

// wantRows checks what holds for every row: figures above zero, and a limit or a
// peer beside each.
func wantRows(t *testing.T, rows []Row, err error, want int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != want {
		t.Fatalf("got %d rows, want %d", len(rows), want)
	}
	for _, r := range rows {
		if r.Rescind <= 0 || r.Ratio <= 0 || r.Of == "" || r.Unit == "" || r.Row == "" || r.N <= 0 {
			t.Errorf("row lacks a figure: %+v", r)
		}
		if r.Limit <= 0 && len(r.Peers) == 0 {
			t.Errorf("row stands alone: %+v", r)
		}
		for name, v := range r.Peers {
			if v <= 0 {
				t.Errorf("peer %s of row %s %s: %v", name, r.Row, r.Case, v)
			}
		}
	}
}

func TestPropagationReachesEveryReceiver(t *testing.T) {
	rows, err := propagationTo(t.Context(), smokeConfig(t), 3, 2)
	wantRows(t, rows, err, 2)
}
